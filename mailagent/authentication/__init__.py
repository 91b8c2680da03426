"""Who sent this mail, as far as it can be proven? SPF, DKIM, ARC, DMARC, each with its evidence.

Pure: DNS answers and the time are handed in, `Needs` names the answers that are missing.
`judge.judge` judges incoming mail, `dkim.sign` and `dkim.new_key` serve our own,
`authentication_results` writes a judgement out.
"""

from mailagent.authentication import dkim, judge
from mailagent.authentication.answers import Needs
from mailagent.authentication.results import authentication_results

__all__ = ["Needs", "authentication_results", "dkim", "judge"]
