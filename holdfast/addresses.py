"""Addresses that never leave this machine, by what they say.

It deliberately looks no name up: what a name means elsewhere, or tomorrow, is nobody's promise.
"""

import ipaddress

SOCKETS = ("unix:", "unix-abstract:")
_LISTS = ("ipv4:", "ipv6:")
_NAMES = ("dns:///", "dns:")


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine: ``localhost`` or a loopback address, in brackets or not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def is_local(target: str) -> bool:
    """Say whether a target of gRPC is a socket of this machine or a loopback address.

    Args:
        target: Such as ``localhost:50051``, ``dns:///localhost:50051``, ``ipv4:127.0.0.1:1,127.0.0.1:2`` or
            ``unix:/run/socket``. A name server of its own (``dns://1.1.1.1/localhost``) may say anything.
    """
    if target.startswith(SOCKETS):
        return True
    if target.startswith(_LISTS):
        return all(is_loopback(_host(address)) for address in target.partition(":")[2].split(","))
    for scheme in _NAMES:
        target = target.removeprefix(scheme)
    return is_loopback(_host(target))


def _host(address: str) -> str:
    """Return an address without its port; colons of IPv6 stand in brackets where there is one."""
    host, colon, _ = address.rpartition(":")
    is_whole = not colon or (":" in host and not host.endswith("]"))
    return address if is_whole else host
