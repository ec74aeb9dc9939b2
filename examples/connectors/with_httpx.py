"""Call an API with an account's token, and have a refused token replaced: httpx.

    REFRESHD_REDIS_URL=redis://refreshd-connector:PASSWORD@HOST:6379/0 python with_httpx.py ACCOUNT URL

Needs `pip install './reader[httpx]'` in a checkout of refreshd.
"""

import os
import sys

import httpx

from refreshd_reader import Reader, ReaderError
from refreshd_reader.httpx import TokenAuth


def main(account: str, url: str) -> int:
    with (
        Reader.from_url(os.environ["REFRESHD_REDIS_URL"]) as reader,
        httpx.Client(auth=TokenAuth(reader, account)) as client,
    ):
        try:
            response = client.get(url)
        except ReaderError as error:  # no token to begin with; the message says why
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(response.status_code, response.text)
    return 0 if response.is_success else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
