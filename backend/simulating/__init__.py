"""What would a provider send us for a mail? Requests as theirs, authenticated by our own settings.

For trying a set-up, for the demo and for the tests: see `mailagent webhook simulate`. One file a
provider, one line in `MAKERS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from backend.simulating import inbound, mailgun, postmark, sendgrid, ses
from backend.simulating.post import Mail, MakesPosts, Post

__all__ = ["MAKERS", "Mail", "MakesPosts", "Post"]

MAKERS: Mapping[str, MakesPosts] = {
    "inbound": inbound.posts,
    "mailgun": mailgun.posts,
    "postmark": postmark.posts,
    "sendgrid": sendgrid.posts,
    "ses": ses.posts,
}
"""By the kind of provider."""
