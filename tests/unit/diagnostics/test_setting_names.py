"""A mistyped setting is named, with the one that is meant; what the project itself sets is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from worker.diagnostics.doctor.setting_names import check_setting_names

ROOT: Final = Path(__file__).parents[3]
NAME: Final = re.compile(r"\bREFRESHD_[A-Z0-9_]*[A-Z0-9]\b(?!_)")


def test_a_mistyped_setting_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("REFRESHD_KEY=hidden-1\nREFRESHD_REDIS_URL=redis://127.0.0.1\nOTHER_KEYZ=hidden-2\n")
    environment = {
        "REFRESHD_WEBHOK_URL": "hidden-3",
        "refreshd_keys": "hidden-4",
        "REFRESHD_SOMETHING_ELSE": "hidden-5",
        "REFRESHD_ACCOUNT_REFRESH_TOKEN": "hidden-6",
        "REFRESHD_API_SERVICE_HOST": "10.0.0.1",
        "REFRESHD_POOL_PORT": "tcp://10.0.0.1:80",
        "PATH": "/bin",
    }
    found = [one.message for one in check_setting_names(environment, file)]
    assert found == [
        "REFRESHD_SOMETHING_ELSE in the environment is no setting: it has no effect",
        "REFRESHD_WEBHOK_URL in the environment is no setting: it has no effect; is REFRESHD_WEBHOOK_URL meant?",
        f"REFRESHD_KEY in {file} is no setting: it has no effect; is REFRESHD_KEYS meant?",
    ]


def test_every_name_of_the_documentation_and_of_the_deployment_is_a_setting(tmp_path: Path) -> None:
    texts = [
        ROOT / ".env.example",
        ROOT / "compose.yaml",
        *(ROOT / "deploy").rglob("*"),
        *(ROOT / "docs").glob("*.md"),
    ]
    names = {name for one in texts if one.is_file() for name in NAME.findall(one.read_text())}
    assert len(names) > 50
    assert [one.message for one in check_setting_names(dict.fromkeys(names, ""), tmp_path / "none")] == []
