"""Who is told of what happens to a domain's models: `notify:`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from hallmark.section import Section

Event = Literal["decision", "rollback", "drift", "refused", "guarantee"]
EVENTS: tuple[Event, ...] = ("decision", "rollback", "drift", "refused", "guarantee")


class Receiver(Section):
    """Someone who is told, at an address that only the environment knows."""

    address: str = Field(
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="Name of the environment variable that holds the URL: it is a secret, and never stands here.",
    )
    format: Literal["webhook", "slack"] = Field(
        default="webhook", description="webhook: JSON with all that is known; slack: an incoming webhook of Slack."
    )
    on: tuple[Event, ...] = Field(
        default=EVENTS,
        min_length=1,
        description="decision: a promotion; rollback; drift; refused: a training; guarantee: one that no longer holds.",
    )

    @model_validator(mode="before")
    @classmethod
    def _on(cls, value: object) -> object:
        """YAML 1.1 reads the key `on` as true, and the editor's 1.2 does not."""
        if isinstance(value, dict) and value.keys() & {True} and "on" not in value:
            return {"on" if key is True else key: each for key, each in value.items()}
        return value

    @field_validator("address", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if isinstance(value, str) and "://" in value:
            raise ValueError(
                "expected the name of an environment variable that holds the address, such as FRAUD_SLACK_URL; got an address,"
                " which is a secret"
            )
        return value


class Notify(Section):
    """Who is told, and where a message leads."""

    receivers: tuple[Receiver, ...] = Field(min_length=1)
    link: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="Where a message leads, such as the platform's page; {domain} and {correlation} stand for what it is about.",
    )
