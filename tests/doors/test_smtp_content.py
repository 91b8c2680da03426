"""Content and addresses as pure values: whatever the network cuts, the mail is the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.doors import smtp_replies
from mailagent.doors.smtp_content import Content
from mailagent.doors.smtp_replies import Reply
from mailagent.doors.smtp_syntax import parse_path

_PIECES = st.lists(
    st.sampled_from([b"\r\n", b".", b"..", b"a", b"\r\n.", b"\xff\x00", b"\r\n.\r", b"\n", b"\r"])
)


def _read(wire: bytes, cuts: list[int], **options: int) -> tuple[bytes | Reply | None, bytes]:
    content = Content(
        size_bytes=options.get("size_bytes", 10_000),
        line_bytes=options.get("line_bytes", 10_000),
        bare_newlines="refuse",
    )
    edges = [0, *sorted(min(c, len(wire)) for c in cuts), len(wire)]
    for n, (start, end) in enumerate(pairwise(edges)):
        rest = content.feed(wire[start:end])
        if rest is not None:
            return content.take(), rest + wire[edges[n + 1] :]
    return None, b""


def _expected(wire: bytes) -> tuple[bytes | Reply | None, bytes]:
    """The rule said plainly: split at the first CRLF.CRLF, take one leading dot of each line."""
    before, dot, rest = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    if not dot:
        return None, b""
    lines = (before + b"\r\n").split(b"\r\n")[1:]
    raw = b"\r\n".join(line.removeprefix(b".") for line in lines)
    bare = any(b"\r" in line or b"\n" in line for line in lines)
    return smtp_replies.BARE_NEWLINE if bare else raw, rest


@settings(max_examples=300)
@given(_PIECES, _PIECES, st.lists(st.integers(0, 60), max_size=6))
def test_a_mail_is_the_same_however_the_network_cuts_it(
    before: list[bytes], after: list[bytes], cuts: list[int]
) -> None:
    wire = b"".join(before) + b"\r\n.\r\n" + b"".join(after)

    assert _read(wire, cuts) == _expected(wire)


@settings(max_examples=150)
@given(_PIECES, st.lists(st.integers(0, 60), max_size=6), st.integers(0, 12))
def test_the_size_limit_counts_what_is_kept_however_it_is_cut(
    pieces: list[bytes], cuts: list[int], size_bytes: int
) -> None:
    wire = b"".join(p for p in pieces if p not in {b"\n", b"\r", b"\r\n.\r"}) + b"\r\n.\r\n"
    kept, rest = _expected(wire)

    taken, left = _read(wire, cuts, size_bytes=size_bytes)

    assert isinstance(kept, bytes)
    assert left == rest
    if len(kept) <= size_bytes:
        assert taken == kept
    else:
        assert isinstance(taken, Reply)
        assert taken.enhanced == "5.3.4"


@settings(max_examples=150)
@given(st.lists(st.integers(0, 12), max_size=8), st.lists(st.integers(0, 60), max_size=6))
def test_the_line_limit_holds_for_each_line_however_it_is_cut(
    lengths: list[int], cuts: list[int]
) -> None:
    kept = b"".join(b"x" * n + b"\r\n" for n in lengths)

    taken, _ = _read(kept + b".\r\n", cuts, line_bytes=8)

    if max(lengths, default=0) <= 8:
        assert taken == kept
    else:
        assert isinstance(taken, Reply)
        assert taken.enhanced == "5.6.0"


@given(st.text(alphabet='<>@:,."\\ab-[]é ', max_size=40))
def test_what_is_read_as_an_address_has_one_and_is_within_the_line(argument: str) -> None:
    path = parse_path(argument)

    if path is not None:
        assert f"{path.address}>" in argument
        assert path.address == "" or "@" in path.address


@given(
    st.from_regex(r'[a-z0-9.!#$%]{1,30}|"[ -!#-~]{0,20}"', fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10}){0,3}", fullmatch=True),
)
def test_an_address_comes_out_as_it_went_in(local: str, domain: str) -> None:
    path = parse_path(f"<{local}@{domain}> SIZE=1")

    if path is None:
        assert ".." in local or local[0] == "." or local[-1] == "." or "\\" in local
    else:
        assert (path.address, path.rest) == (f"{local}@{domain}", "SIZE=1")


def test_every_reply_has_the_enhanced_code_of_its_class_and_fits_a_line() -> None:
    table = [r for r in vars(smtp_replies).values() if isinstance(r, Reply)]

    assert len(table) > 40
    for reply in table:
        without = {smtp_replies.BANNER, smtp_replies.HELO_OK}
        assert bool(reply.enhanced) == (reply not in without and reply.code // 100 != 3)
        assert not reply.enhanced or reply.enhanced[0] == str(reply.code)[0]
        assert reply.source
        assert len(reply.line) <= 512  # RFC 5321 §4.5.3.1.5
        assert reply.line.isascii()
        assert reply.line.count(b"\n") == 1
