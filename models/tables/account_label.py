"""The index of labels, by which accounts are found."""

from __future__ import annotations

from sqlalchemy import Index
from sqlmodel import Field, SQLModel


class AccountLabel(SQLModel, table=True):
    """One row of `account_label`: `account.labels` has the same labels."""

    __tablename__ = "account_label"
    __table_args__ = (Index("ix_account_label", "name", "value", "account_id"),)

    account_id: str = Field(primary_key=True, max_length=128)
    name: str = Field(primary_key=True, max_length=128)
    value: str = Field(max_length=128)
