"""What every use of the Hugging Face Hub's client shares: its errors in one line."""

# Parts of huggingface_hub's interface have no types.
# pyright: reportUnknownVariableType=false


def network_errors() -> tuple[type[Exception], ...]:
    """Return what the Hub's client raises when it cannot get something, whichever HTTP library it is built on."""
    from huggingface_hub import errors

    # requests' errors are OSErrors; httpx's have a base of their own, which this module imports.
    return OSError, errors.HTTPError  # pyright: ignore[reportPrivateImportUsage]


def in_one_line(error: Exception) -> str:
    """Return the reason of an error, shortened, and the address of the Hub."""
    from huggingface_hub import constants

    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return f"{constants.ENDPOINT} ({reason})"
