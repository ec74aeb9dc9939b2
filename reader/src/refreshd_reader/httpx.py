"""`httpx.Auth` that attaches an account's token, and replaces it once when an API refuses it.

    client = httpx.Client(auth=TokenAuth(reader, "acct-1"))
    client = httpx.AsyncClient(auth=AsyncTokenAuth(async_reader, "acct-1"))

On a refusal (401 by default) it reports the token's generation, waits for a newer one for a bounded time, and
sends the request once more. If no newer token comes, or the body can't be sent twice, the API's response is returned
unchanged. A body can be sent twice if it is in memory: bytes, text, JSON, a form. For a stream or a file pass
`buffer_body=True`, which reads it into memory first. If there is no token to begin with, a request raises the
`ReaderError` that says why.
"""

from refreshd_reader._async.httpx import AsyncTokenAuth
from refreshd_reader._sync.httpx import TokenAuth

__all__ = ["AsyncTokenAuth", "TokenAuth"]
