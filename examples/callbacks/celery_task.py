"""A callback that is a Celery task, in an environment of its own: other packages, another Python, another machine.

    pip install './reader[callback]' celery[redis] requests
    CALLBACK_SECRET=... REFRESHD_REDIS_URL=redis://... celery -A celery_task worker -Q callback.celery-task

and in refreshd's REFRESHD_CALLBACKS_FILE:

    celery-task: {task: celery_task.refresh, secret_env: CALLBACK_SECRET}

The message names an envelope; inputs and answer lie sealed in Redis for as long as the call takes. Neither broker,
result backend nor Flower ever holds a secret.
"""

from __future__ import annotations

import os
from typing import Any

import requests
from celery import Celery

from refreshd_reader.callback_task import CallbackTask

REDIS_URL = os.environ["REFRESHD_REDIS_URL"]

app = Celery("celery_task", broker=REDIS_URL)
app.conf.task_default_queue = "callback.celery-task"
callback = CallbackTask.from_url(REDIS_URL, secret=os.environ["CALLBACK_SECRET"])


@app.task(name="celery_task.refresh", ignore_result=True)
def refresh(envelope: str) -> None:
    callback.answer(envelope, ask_the_provider)


def ask_the_provider(inputs: dict[str, Any]) -> dict[str, Any]:
    response = requests.post(
        inputs["access_token_refresh_url"],
        json={"client": inputs["consumer_id"], "token": inputs["refresh_token"]},
        timeout=10,
    )
    body = response.json()
    if "error" in body:
        return {"errorResponse": {"error": body["error"], "error_description": body.get("message")}}
    response.raise_for_status()
    # Return the refresh token of every answer: one that the provider has replaced is lost otherwise.
    return {
        "access_token": body["access_token"],
        "refresh_token": body.get("refresh_token"),
        "expires_in": body["expires_in"],
    }
