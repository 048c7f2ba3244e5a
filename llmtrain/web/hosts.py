"""The names of a page's host, and whether it is this machine's own."""

import ipaddress
import socket


def names(host: str) -> tuple[str, ...]:
    """Under which names, without port, a page on `host` may be asked for; the first is the one to tell people."""
    if loopback(host):
        return (_bracketed(host), *({"127.0.0.1", "localhost"} - {host}))
    if host in ("0.0.0.0", "::", ""):
        return (_outward(), socket.gethostname().lower(), "127.0.0.1", "localhost")
    return (_bracketed(host),)


def loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def _outward() -> str:
    """The address by which others reach this machine; connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname().lower()
        return str(probe.getsockname()[0])
