"""What an address says about where it leads; no name is looked up."""

import pytest

from holdfast.addresses import is_local, is_loopback

ANYWHERE = "0.0.0.0"  # noqa: S104 (never listened on)


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        (ANYWHERE, False),
        ("[::]", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_a_loopback_host_is_known_by_its_spelling(host: str, is_it: bool) -> None:
    """An address of the block or the one name; all others may be anybody's."""
    assert is_loopback(host) is is_it


@pytest.mark.parametrize(
    ("target", "is_it"),
    [
        ("localhost:50051", True),
        ("localhost", True),
        ("127.0.0.1:50051", True),
        ("[::1]:50051", True),
        ("[::1]", True),
        ("::1", True),
        ("dns:localhost:1", True),
        ("dns:///localhost:1", True),
        ("dns:///127.0.0.1", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("ipv6:[::1]:1", True),
        ("unix:run/socket", True),
        ("unix:///run/socket", True),
        ("unix-abstract:socket", True),
        ("scoring.example:443", False),
        ("10.0.0.1:50051", False),
        ("[2001:db8::1]:50051", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("dns://1.1.1.1/localhost:1", False),
        ("dns:///scoring.example", False),
        ("xds:///localhost", False),
        ("localhost@scoring.example:1", False),
        ("localhost:1@scoring.example:1", False),
        ("", False),
    ],
)
def test_a_target_of_this_machine_is_known_by_its_spelling(target: str, is_it: bool) -> None:
    """In every form that gRPC takes; one address elsewhere is enough to be elsewhere."""
    assert is_local(target) is is_it
