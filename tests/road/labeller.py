"""Labels without end and says the id of each judgement once it is saved; to be killed at any moment."""

from __future__ import annotations

import sys
from pathlib import Path

from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.workbench.project import Project

project = Project.open(Path(sys.argv[1]))
while True:
    showing = project.next_showing()
    if showing is None:
        project.undo()
        continue
    print(project.save_comparison(showing, Outcome.RANKED, (1, 2)).id, flush=True)
