"""What operators asked for: who, when, what, and what became of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models import base


class CommandRow(base.Base):
    """One request of an operator: pause, seed, prune, skip, adopt."""

    __tablename__ = "command"

    id: Mapped[base.AutoId]
    asked_at: Mapped[base.Moment]
    asked_by: Mapped[base.Name]
    verb: Mapped[str] = mapped_column(Text)
    target: Mapped[base.Name]
    arguments: Mapped[base.Json]
    done_at: Mapped[datetime | None] = mapped_column(base.Utc)
    outcome: Mapped[str | None] = mapped_column(base.Escaped)
