"""Receive refreshd's webhooks: verify, note the id, answer, then act.

pip install standardwebhooks
REFRESHD_WEBHOOK_SECRET=whsec_... python receiver.py 8080
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["REFRESHD_WEBHOOK_SECRET"])
LARGEST = 256 * 1024
#: A message may come twice, with the same id. A real receiver keeps ids for three days, where a restart finds them.
seen: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        if length > LARGEST:
            self.answer(413)
            return
        try:
            message = WEBHOOK.verify(self.rfile.read(length), {k.lower(): v for k, v in self.headers.items()})
        except WebhookVerificationError:
            self.answer(401)
            return
        self.answer(204)
        if self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            tell(message["type"], message["data"])

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


def tell(kind: str, data: dict) -> None:
    """Do something about it: here, say it."""
    about = data.get("account") or f"{data.get('count', 'all')} accounts of {data.get('provider')}"
    print(f"{kind}: {about}: {data.get('words')}", flush=True)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
