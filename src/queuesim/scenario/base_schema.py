"""What the parts of a scenario have in common: they are closed, frozen, and may have a short form."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from queuesim.scenario.attribute_docs import attribute_docs
from queuesim.scenario.unit_schema import refuse
from queuesim.scenario.wording import listing


class Section(BaseModel):
    """A mapping in a scenario file whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    short: ClassVar[str | None] = None
    """The key that a value stands for which is no mapping: ``backoff: 1s`` means ``backoff: {delay: 1s}``."""
    words: ClassVar[tuple[str, ...]] = ()
    """Single words that can stand for the whole."""
    choices: ClassVar[tuple[str, ...]] = ()
    """Keys of which exactly one must be there."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        """The long form of a short one."""
        if cls.short is None or value is None or isinstance(value, (dict, BaseModel)):
            return value
        return {cls.short: value}

    @model_validator(mode="after")
    def _choose(self) -> Any:
        if self.choices:
            chosen = [key for key in self.choices if getattr(self, key) is not None]
            if not chosen:
                raise refuse(f"exactly one of these keys is needed: {listing(self.choices)}")
            if len(chosen) > 1:
                raise refuse(f"only one of these keys can be there: {listing(chosen)}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell editors of the short form and of the choice."""
        schema = handler(core)
        long = handler.resolve_ref_schema(schema)
        if cls.choices:
            long["oneOf"] = [{"required": [key]} for key in cls.choices]
        defaults = cls.model_construct().model_dump(mode="json", by_alias=True, exclude_none=True)
        docs = {field.alias or name: attribute_docs(cls).get(name) for name, field in cls.model_fields.items()}
        for key, value in long["properties"].items():
            if docs[key] is not None:
                value["description"] = docs[key]
            _as_in_files(value, defaults.get(key))
        if cls.short is not None:
            short = {key: value for key, value in long["properties"][cls.short].items() if key != "default"}
            mapping = dict(long)
            long.clear()
            long.update({key: mapping.pop(key) for key in ("title", "description") if key in mapping})
            long["anyOf"] = [short, *({"const": word} for word in cls.words), mapping]
        return schema


def or_single(schema: dict[str, Any]) -> None:
    """A list may be written as its only element."""
    array = dict(schema, minItems=1)
    about: dict[str, Any] = {key: array.pop(key) for key in ("description", "default") if key in array}
    schema.clear()
    schema.update({"anyOf": [array["items"], array], **about})


def _as_in_files(schema: dict[str, Any], default: Any) -> None:
    """A property as a file has it: left out rather than null, and its default with a unit."""
    schema.pop("title", None)
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if "anyOf" in schema and len(options) < len(schema["anyOf"]):
        schema.pop("anyOf")
        schema.update({**options[0], **schema} if len(options) == 1 else {"anyOf": options})
    schema.pop("default", None)
    if isinstance(default, (str, bool, int, float)):
        schema["default"] = default
