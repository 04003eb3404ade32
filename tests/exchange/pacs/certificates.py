"""A certificate authority of the test's own, and certificates that it signs, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from tests.machine import program


class Authority:
    """One that signs for 127.0.0.1.

    Attributes:
        ca: its certificate (PEM).
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.ca = folder, folder / "ca.pem"
        self._openssl = program("openssl", package="openssl")
        self._run(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=A test's own",
            "-keyout", str(folder / "ca.key"), "-out", str(self.ca),
        )  # fmt: skip

    def sign(self, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
        """Returns the files of a certificate and its key."""
        certificate, key, asked = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        self._run(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(asked)
        )
        extension = self.folder / f"{name}.ext"
        extension.write_text(f"subjectAltName=IP:{address}\n")
        self._run(
            "x509", "-req", "-in", str(asked), "-CA", str(self.ca), "-CAkey", str(self.folder / "ca.key"),
            "-CAcreateserial", "-days", "2", "-extfile", str(extension), "-out", str(certificate),
        )  # fmt: skip
        return certificate, key

    def context(self, name: str, *, both: bool = False) -> ssl.SSLContext:
        """Returns how a server speaks TLS with a certificate of that name; with ``both`` it wants one in turn."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        context.load_cert_chain(*self.sign(name))
        context.verify_mode = ssl.CERT_REQUIRED if both else ssl.CERT_NONE
        return context

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], check=True, capture_output=True)
