"""TLS: whom to trust, and the certificates by which clients prove themselves (RFC 8705 section 2)."""

from __future__ import annotations

import ssl
import tempfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Final

import httpx
from cryptography.x509 import load_pem_x509_certificate

from models.token import Secret
from worker.providers.request.draft import ClientCertificate, InvalidRequest

#: So many accounts' certificates are kept ready; reading one takes about a millisecond.
_REMEMBERED: Final = 256


class TLSContexts:
    """Contexts that verify the provider: the public authorities, and those of `ca_file` beside them."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._of_clients: OrderedDict[ClientCertificate, ssl.SSLContext] = OrderedDict()

    @property
    def context(self) -> ssl.SSLContext:
        """Return the context of clients that show no certificate; all of one process have the same."""
        return _without_certificate(self._ca_file)

    def client(self, shown: ClientCertificate) -> ssl.SSLContext:
        """Return a context that shows a client's certificate.

        Raises:
            InvalidRequest: certificate and key can't be read, or do not belong together.
        """
        context = self._of_clients.get(shown)
        if context is None:
            context = _trusting(self._ca_file)
            _load(context, shown)
            self._of_clients[shown] = context
            if len(self._of_clients) > _REMEMBERED:
                self._of_clients.popitem(last=False)
        self._of_clients.move_to_end(shown)
        return context


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


#: Reading the authorities takes 20 ms: once for each file, not once for each client.
_without_certificate: Final = cache(_trusting)


def certificate_ends_at(certificate: Secret) -> float | None:
    """Return when a PEM certificate ends, epoch seconds; None where it can't be read."""
    try:
        return load_pem_x509_certificate(_pem(certificate).encode()).not_valid_after_utc.timestamp()
    except ValueError:
        return None


def _pem(secret: Secret) -> str:
    """Return a PEM that may have come through one line of a file."""
    return secret.reveal().replace("\\n", "\n")


def _load(context: ssl.SSLContext, shown: ClientCertificate) -> None:
    """Return OpenSSL the certificate; it reads files only, so there is one for a moment, for this user alone."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{_pem(shown.certificate)}\n{_pem(shown.key)}\n")
        file.flush()
        try:
            # Without a password OpenSSL asks the terminal for the key's, and the whole process waits for a person.
            context.load_cert_chain(file.name, password="")
        except (ssl.SSLError, OSError):
            raise InvalidRequest(
                "client_certificate, client_key: a PEM certificate and its unencrypted private key are expected"
            ) from None
