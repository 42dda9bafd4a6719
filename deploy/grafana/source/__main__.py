"""`python -m deploy.grafana.source`: writes the dashboards' JSON."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.source.delivery import DELIVERY
from deploy.grafana.source.experience import EXPERIENCE
from deploy.grafana.source.models import MODELS
from deploy.grafana.source.panels import build
from deploy.grafana.source.sessions import SESSIONS
from deploy.grafana.source.tools import TOOLS
from grafana_foundation_sdk.cog.encoder import JSONEncoder

BOARDS = (EXPERIENCE, SESSIONS, MODELS, TOOLS, DELIVERY)
FOLDER = Path(__file__).resolve().parent.parent / "dashboards"


def files() -> dict[str, str]:
    """The text of each dashboard by the name of its file."""
    return {
        f"{board.uid}.json": json.dumps(build(board, BOARDS), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for board in BOARDS
    }


def main() -> None:
    """Write them, and remove what is no dashboard any more."""
    made = files()
    for old in FOLDER.glob("*.json"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
