"""HTML becomes the text a person sees, and what is shown of it can neither fetch nor run."""

from __future__ import annotations

import pytest

from mailagent.mime import html, text


@pytest.mark.parametrize(
    "hiding",
    [
        '<div style="display:none">evil</div>',
        '<div style="DISPLAY: none !important">evil</div>',
        '<div style="display:/**/no\\6e e">evil</div>',
        '<p style="visibility:hidden">evil</p>',
        '<p style="font-size:0px">evil</p>',
        '<p style="font:0px Arial">evil</p>',
        '<p style="opacity:0">evil</p>',
        "<p hidden>evil</p>",
        '<font color="white">evil</font>',
        '<p style="color:#fefefe">evil</p>',
        '<table bgcolor="#123456"><tr><td><font color="#123456">evil</font></td></tr></table>',
        '<p style="color:rgba(0,0,0,0)">evil</p>',
        '<div style="max-height:0;overflow:hidden">evil</div>',
        '<div style="height:0px;overflow:hidden">evil</div>',
        '<div style="position:absolute;left:-9999px">evil</div>',
        "<style>.x{display:none}</style><p class=x>evil</p>",
    ],
)
def test_text_that_a_person_cannot_see_is_dropped_and_reported(hiding: str) -> None:
    assert html.to_text(f"<p>good</p>{hiding}<p>end</p>")[1] is True
    assert "evil" not in html.to_text(f"<p>good</p>{hiding}<p>end</p>")[0]


@pytest.mark.parametrize(
    "shown",
    [
        '<p style="background:#000;color:#fff">seen</p>',
        '<p style="background:url(x);color:#fff">seen</p>',
        '<table bgcolor="navy"><tr><td style="color:white">seen</td></tr></table>',
        '<div style="font-size:0"><p style="font-size:14px">seen</p></div>',
        '<div style="visibility:hidden"><p style="visibility:visible">seen</p></div>',
        "<style>@media (max-width:1px){.x{display:none}}</style><p class=x>seen</p>",
        '<div style="display:none">&zwnj;&nbsp;</div><p>seen</p>',
        "<!-- a comment --><script>code()</script><p>seen</p>",
    ],
)
def test_text_that_a_person_sees_is_kept_without_alarm(shown: str) -> None:
    assert html.to_text(shown) == ("seen", False)


def test_the_layout_of_a_mail_survives_as_text() -> None:
    page = (
        "<html><head><title>no</title></head><body><h1>Order</h1><p>Dear&nbsp;<b>Ada</b>,<br>thanks."
        "<ul><li>one<li>two</ul><table><tr><td>Sum</td><td>10</td></tr></table><pre>a\n  b</pre>"
        '<a href="https://x.org/a">see</a> <a href="https://x.org">x.org</a></body></html>'
    )
    assert html.to_text(page)[0] == (
        "Order\n\nDear Ada,\nthanks.\n\n- one\n- two\n\nSum  10\n\na\n  b\n\n"
        "see <https://x.org/a> x.org"
    )


@pytest.mark.parametrize(
    "reply",
    [
        (
            '<div>Yes</div><div class="gmail_quote"><div>On Mon, 3 May 2027 at 10:12, A '
            "&lt;a@x.org&gt; wrote:<br></div><blockquote>When?</blockquote></div>"
        ),
        (
            '<p>Yes</p><div id="divRplyFwdMsg"><b>From:</b> A<br><b>Sent:</b> Monday<br><b>To:</b>'
            " B<br><b>Subject:</b> x</div><div>When?</div>"
        ),
        (
            '<p>Yes</p><div style="border-top:solid 1pt"><p><b>Von:</b> A<br><b>Gesendet:</b>'
            " Montag<br><b>An:</b> B</p></div><p>Wann?</p>"
        ),
        (
            '<div>Yes</div><blockquote type="cite"><div>On 3 May 2027, at 10:12, A &lt;a@x.org&gt; '
            "wrote:</div><div>When?</div></blockquote>"
        ),
    ],
)
def test_the_quote_of_an_html_reply_can_be_told_from_the_reply(reply: str) -> None:
    assert text.written(html.to_text(reply)[0]) == "Yes"


@pytest.mark.parametrize(
    "hostile",
    [
        '<img src="http://t.example/p.png">',
        '<img srcset="http://t.example/p.png 2x">',
        '<td background="http://t.example/p.png">x</td>',
        '<p style="background-color:url(http://t.example)">x</p>',
        '<p style="background:url(http://t.example)">x</p>',
        "<style>@import 'http://t.example'</style>",
        '<link rel="stylesheet" href="http://t.example">',
        '<base href="http://t.example">',
        '<meta http-equiv="refresh" content="0;url=http://t.example">',
        '<svg><image href="http://t.example"/><script>t.example</script></svg>',
        '<a href="java\tscript:t.example">x</a>',
        '<a href="data:text/html,t.example">x</a>',
        '<img src="data:image/svg+xml;base64,t.example">',
        '<form action="http://t.example"><input name="t.example"></form>',
        '<iframe src="http://t.example"></iframe>',
        '<p style="position:fixed;top:0" onclick="t.example">x</p>',
    ],
)
def test_nothing_that_fetches_runs_or_covers_is_shown(hostile: str) -> None:
    shown = html.safe(hostile)
    assert shown is not None
    assert "t.example" not in shown
    assert "position" not in shown


def test_links_and_inline_images_are_shown() -> None:
    shown = html.safe('<a href="https://x.org">x</a><img src="cid:logo" alt="Logo">')
    assert shown is not None
    assert 'rel="noopener noreferrer nofollow"' in shown
    assert 'src="cid:logo"' in shown


@pytest.mark.parametrize("bomb", ["<div>" * 600, "<p>x" * 20_001, "<" * 20_001])
def test_html_too_deep_or_too_large_is_not_shown(bomb: str) -> None:
    assert html.safe(bomb) is None


@pytest.mark.parametrize(
    "bomb",
    [
        "<div>" * 100_000 + "x",
        "<" * 500_000,
        "<p" + " a=b" * 100_000 + ">x",
        "<blockquote>x" * 2_000,
        "<style>" + "{" * 100_000 + "</style>x",
        "<style>" + "/*" * 100_000 + "</style>x",
        "\ud800<p>x\x00",
    ],
)
def test_a_bomb_is_read_without_an_error(bomb: str) -> None:
    seen, _ = html.to_text(bomb)
    seen.encode("utf-8")
    html.safe(bomb)
