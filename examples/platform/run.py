"""Run an example platform with everything around it: a provider, refreshd, and a first customer who connects.

    python examples/platform/run.py examples/platform_fastapi

Nothing is left behind. `--once` ends when the customer is through; without it the platform stays up, for you to click.
"""

import argparse
import base64
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Self
from urllib.parse import urljoin

import httpx
from standardwebhooks import Webhook

HOST = "127.0.0.1"
#: Of the provider's access tokens: short, so that refreshing can be watched.
LIFETIME_S = 15
PATIENCE_S = 120


class Customer:
    """A person with a browser, as a script: follows redirects, and presses the first button of a page."""

    def __init__(self) -> None:
        self._http = httpx.Client(follow_redirects=True, timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def open(self, url: str) -> httpx.Response:
        return self._arrived(self._http.get(url))

    def press(self, page: httpx.Response) -> httpx.Response:
        """Press the page's button; returns the next page."""
        form = Page(page.text)
        return self._arrived(self._http.post(urljoin(str(page.url), form.action), data=form.fields))

    def _arrived(self, page: httpx.Response) -> httpx.Response:
        while leads_to := Page(page.text).leads_to:
            page = self._http.get(urljoin(str(page.url), leads_to))
        return page

    def connect(self, platform: str) -> httpx.Response:
        """Press "Connect", "Continue" on Connect's page and "Allow" at the provider; returns where that leads."""
        page = self.open(platform)
        for _ in range(3):
            page = self.press(page)
        return page


class Page(HTMLParser):
    """The first form of a page, filled in as it stands, and where the page leads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action = self.leads_to = ""
        self.fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "meta" and found.get("http-equiv") == "refresh":
            self.leads_to = found["content"].partition("url=")[2]
        elif tag == "form":
            self.action = found["action"]
        elif tag in {"input", "button"} and found.get("name") and found["name"] not in self.fields:
            self.fields[found["name"]] = found.get("value", "")


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; what it prints goes to a file."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def wait_for(what: str, is_there: Callable[[], object], *processes: subprocess.Popen[bytes]) -> None:
    """Wait until something is so; end with its name where it never is."""
    until = time.monotonic() + PATIENCE_S
    while not is_there():
        if time.monotonic() > until or any(one.poll() is not None for one in processes):
            raise SystemExit(f"no {what}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False, timeout=5).is_success
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Around:
    """What stands around the platform: its files are in `folder`, its addresses in `environment`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.platform = f"http://{HOST}:{free_port()}"
        self.api = f"http://{HOST}:{free_port()}"
        self.provider = f"http://{HOST}:{free_port()}"
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
        self.environment = ours | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "REFRESHD_DATA_DIR": str(folder),
            "REFRESHD_API_PORT": self.api.rpartition(":")[2],
            "REFRESHD_PROVIDERS_FILE": str(folder / "providers.yaml"),
            "REFRESHD_ALLOW_HTTP_HOSTS": HOST,
            "REFRESHD_WEBHOOK_URL": f"{self.platform}/webhooks",
            "REFRESHD_WEBHOOK_SECRET": f"whsec_{secret}",
            "REFRESHD_CONNECT_NAME": "Platform",
        }

    def start(self) -> None:
        """Start the provider and refreshd, and store the platform's client."""
        (self._folder / "providers.yaml").write_text(
            f"crm:\n  title: Demo CRM\n  token_url: {self.provider}/token\n"
            f"  authorize_url: {self.provider}/authorize\n  scopes: [read]\n"
        )
        port = self.provider.rpartition(":")[2]
        provider = self._run(
            "provider",
            *(sys.executable, "-m", "worker.local.demo.provider"),
            *("--port", port, "--lifetime-s", str(LIFETIME_S)),
        )
        wait_for("provider", lambda: answers(f"{self.provider}/stats"), provider)
        refreshd = self._run("refreshd", "refreshd", "up", "--no-flower")
        key = self._folder / "api.key"
        wait_for("API", lambda: key.exists() and answers(f"{self.api}/readyz"), refreshd)
        client = {
            "provider": "crm",
            "client_id": "platform",
            "client_secret": "secret",
            "return_urls": [f"{self.platform}/connected"],
        }
        first = {"authorization": f"Bearer {key.read_text().strip()}"}
        httpx.put(
            f"{self.api}/v1/clients/crm", json=client, headers=first, trust_env=False, timeout=60
        ).raise_for_status()

    def serve(self, example: Path) -> None:
        """Start the platform, with a key of its own."""
        command = [
            "refreshd",
            "api-keys",
            "create",
            "platform",
            "--scope",
            "connect",
            "--scope",
            "accounts:read",
        ]
        made = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        port = self.platform.rpartition(":")[2]
        environment = {
            name: value for name, value in self.environment.items() if not name.startswith("REFRESHD_")
        }
        environment |= {
            "PORT": port,
            "PLATFORM_URL": self.platform,
            "CRM_URL": self.provider,
            "REFRESHD_API_URL": self.api,
            "REFRESHD_API_KEY": made.stdout.strip(),
            "REFRESHD_REDIS_URL": (self._folder / "redis.url").read_text().strip(),
            "REFRESHD_WEBHOOK_SECRET": self.environment["REFRESHD_WEBHOOK_SECRET"],
        }
        if (example / "app.mjs").exists():
            command = ["node", str(example / "app.mjs")]
        else:
            command = [sys.executable, "-m", "uvicorn", f"--app-dir={example}", f"--port={port}", "app:app"]
        platform = self._run("platform", *command, environment=environment)
        wait_for("platform", lambda: answers(self.platform), platform)

    def revoke(self) -> None:
        """Revoke every consent, as the customer would in the provider's own pages."""
        for grant in httpx.get(f"{self.provider}/stats/grants", trust_env=False).json():
            httpx.post(f"{self.provider}/admin/grants/{grant}/revoke", trust_env=False).raise_for_status()

    def remove(self, account: str) -> httpx.Response:
        """Remove an account, and send the platform a message about it that comes late; returns the platform's answer."""
        key = (self._folder / "api.key").read_text().strip()
        httpx.delete(
            f"{self.api}/v1/accounts/{account}",
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=60,
        ).raise_for_status()
        now, message = datetime.now(UTC), f"msg_{secrets.token_hex(8)}"  # noqa: TID251  (no clock of refreshd)
        body = json.dumps({"type": "reconnected", "data": {"account": account}})
        signed = Webhook(self.environment["REFRESHD_WEBHOOK_SECRET"]).sign(message, now, body)
        headers = {
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signed,
            "content-type": "application/json",
        }
        return httpx.post(f"{self.platform}/webhooks", content=body, headers=headers, trust_env=False)

    def _run(
        self, name: str, *command: str, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        log = self._folder / f"{name}.log"
        return self._stack.enter_context(running(list(command), environment or self.environment, log))


def tour(around: Around, customer: Customer) -> None:
    """Have a customer connect, see the token refreshed, lose the grant, be told so, connect again, and leave."""
    crm = f"{around.platform}/crm"

    def generation() -> int:
        found = re.search(r"with token (\d+)", customer.open(crm).text)
        return int(found[1]) if found else 0

    page = customer.connect(around.platform)
    if ": connected" not in page.text:
        raise SystemExit(f"not connected: {page.url}: {page.text}")
    print(f"connected. What the CRM says: {customer.open(crm).text}", flush=True)
    wait_for("refreshed token", lambda: generation() > 1)
    print(f"refreshed. What the CRM says: {customer.open(crm).text}", flush=True)
    around.revoke()
    print("the customer revoked it at the provider; the platform waits for the webhook", flush=True)
    wait_for("webhook", lambda: "Reconnect" in customer.open(around.platform).text)
    page = customer.connect(around.platform)
    if ": connected" not in page.text:
        raise SystemExit(f"not connected again: {page.url}: {page.text}")
    print(f"connected again. What the CRM says: {customer.open(crm).text}", flush=True)
    found = re.search(r"<h1>([\w-]+): ", page.text)
    if not found:
        raise SystemExit(f"no customer: {page.text}")
    answer = around.remove(found[1])
    if not answer.is_success or ": not connected" not in customer.open(around.platform).text:
        raise SystemExit(f"a late webhook about an account that was removed: {answer.status_code}")
    print("the account was removed, and the platform has forgotten it", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("example", type=Path)
    parser.add_argument("--once", action="store_true", help="end when the customer is through")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="refreshd-platform-") as folder, ExitStack() as stack:
        around = Around(Path(folder), stack)
        try:
            print("starting a provider, refreshd and the platform", flush=True)
            around.start()
            around.serve(options.example)
            with Customer() as customer:
                tour(around, customer)
            if not options.once:
                print(f"\nNow you: {around.platform} (Ctrl-C ends everything)", flush=True)
                with suppress(KeyboardInterrupt):
                    signal.pause()
        except (SystemExit, Exception):
            for log in sorted(Path(folder).glob("*.log")):
                sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}\n")
            raise


if __name__ == "__main__":
    main()
