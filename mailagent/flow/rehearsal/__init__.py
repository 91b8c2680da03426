"""What would become of a mail, and what would its agent do?

Route, think and decide run as they do in the flow, over real rows, in transactions that are undone.
The agent thinks between two of them; what its tools would have done outside is told, not done. So
nothing is sent, kept or changed, and nobody hears of it.
"""

from mailagent.flow.rehearsal.run import rehearse
from mailagent.flow.rehearsal.values import Brought, Prepare, Rehearsed, Stored, Used

__all__ = ["Brought", "Prepare", "Rehearsed", "Stored", "Used", "rehearse"]
