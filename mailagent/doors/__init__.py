"""Where mail comes in, and where our own hand it in. A door accepts, and that is all it does."""

from mailagent.doors.smtp import SmtpDoor
from mailagent.doors.smtp_census import SmtpStats
from mailagent.doors.smtp_limits import SmtpLimits
from mailagent.doors.submission import SubmissionDoor

__all__ = ["SmtpDoor", "SmtpLimits", "SmtpStats", "SubmissionDoor"]
