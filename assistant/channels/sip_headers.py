"""Who calls, as the headers of an INVITE tell it."""

import re

_USER = r"\b(?:sips?:([^@;>,\s]+)[^@>\s]*@|tel:([^;>,\s]+))"


def caller_number(message: str) -> str:
    """The caller's number in an INVITE: P-Asserted-Identity (RFC 3325), else From; "" if withheld.

    Takes the whole message, headers as received.
    """
    headers = message.partition("\r\n\r\n")[0]
    for name in ("P-Asserted-Identity", "From|f"):
        found = re.search(rf"(?im)^(?:{name})\s*:[^\r\n]*?{_USER}", headers)
        user = (found[1] or found[2]) if found else ""
        if user and user.lower() not in {"anonymous", "unavailable", "restricted"}:
            return user
    return ""
