"""What opens the door of a place, from where the settings say that it is."""

from __future__ import annotations

from pathlib import Path

from cfcam.exchange.pacs.place import Access, Secret
from cfcam.jobs.gateway.places import Access as AccessSettings
from cfcam.jobs.gateway.settings import GatewaySettings
from cfcam.private import DOORS, PSEUDONYMS, exposed


def access_of(settings: AccessSettings) -> Access:
    """Reads what opens the door of a place; passwords come from where the settings say that they are.

    Raises:
        InputError: a password is not there, or things do not go together.
    """
    return Access(
        calling_ae=settings.calling_ae,
        user=settings.user,
        password=secret_of(settings.password_env, settings.password_file),
        token=secret_of(settings.token_env, settings.token_file),
        ca=settings.ca,
        certificate=settings.certificate,
        key=settings.key,
        timeout_s=settings.timeout_s,
    )


def secret_of(variable: str | None, file: Path | None) -> Secret | None:
    """Reads a secret from an environment variable or the first line of a file; None where neither is named.

    Raises:
        InputError: it is not there.
    """
    if variable is not None:
        return Secret.from_environment(variable)
    return None if file is None else Secret.from_file(file)


def exposed_secrets(settings: GatewaySettings) -> list[str]:
    """Returns what is to be done about secret files that others may read, a line each; see `cfcam.private.exposed`."""
    parts = (settings.receive, settings.send, settings.poll, settings.prior, settings.fhir)
    doors = [getattr(one, name, None) for one in parts for name in ("password_file", "token_file")]
    doors += [getattr(one, "key", None) or getattr(one, "certificate", None) for one in parts]  # one holds the other
    files = {**dict.fromkeys(doors, DOORS), settings.results.deidentify_key: PSEUDONYMS}
    return [told for file, so in files.items() if file is not None and (told := exposed(file, so))]
