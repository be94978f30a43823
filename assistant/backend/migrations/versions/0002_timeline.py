"""Turns have a timeline."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Turns from before have an empty one."""
    op.add_column("turn", sa.Column("timeline", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """The timelines go."""
    op.drop_column("turn", "timeline")
