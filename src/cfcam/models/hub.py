"""Ask the Hugging Face Hub once before a library asks it many times: offline, their retries take a minute."""

from typing import Final

_SECONDS: Final = 8.0


def hub_answers(name: str, files: tuple[str, ...]) -> bool:
    """Tell whether one of a repository's files is in the local cache, or the hub can be reached.

    Args:
        name: The repository, ``owner/name``.
        files: File names, any of which will do.

    Returns:
        False only if nothing is cached and there is no connection.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if any(isinstance(huggingface_hub.try_to_load_from_cache(name, file), str) for file in files):
        return True
    try:
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(name, files[0]), timeout=_SECONDS)
    except HfHubHTTPError:
        return True
    except (OfflineModeIsEnabled, OSError):
        return False
    except Exception as error:
        # The transport's own errors are not a common type across versions (requests, httpx).
        if type(error).__module__.partition(".")[0] in {"httpx", "httpx2", "httpcore", "requests", "urllib3"}:
            return False
        raise
    return True
