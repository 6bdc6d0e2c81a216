"""The possible services: what MetaStudio's documents leave open (metastudio-protocol section 12)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints


@dataclass(frozen=True, kw_only=True)
class World:
    """One combination of the possibilities; the defaults are the first value of each dimension.

    Raises ValueError for a value that its dimension does not have.
    """

    list_filters: Literal["honoured", "ignored"] = "honoured"
    """Whether list selects by `tag` and `batch_name`."""
    list_tags: Literal["shown", "hidden"] = "shown"
    show_tags: Literal["shown", "hidden"] = "shown"
    download_urls: Literal["joined", "after-review", "never"] = "joined"
    """From when list and show give download URLs: as soon as the object exists, after a review, or never."""
    part_list_after_join: Literal["refused", "empty", "full"] = "refused"
    """What a part list answers once the parts are joined; full: with the parts as they were joined."""
    action_part_list: Literal["works", "refused", "empty"] = "works"
    """What GET_ACTION_VIDEO_MULTIPART_UPLOADED does."""
    second_confirm: Literal["refused", "accepted"] = "refused"
    second_submit: Literal["refused", "accepted"] = "refused"
    put_again: Literal["refused", "overwrite"] = "refused"
    """What a URL that stored something does with another body; overwrite: the last one stays."""
    update_allowed: Literal["failed-review", "always", "never"] = "failed-review"
    """In which states; always: wherever files may be uploaded, so in WAIT_FILE_UPLOAD as well."""
    update_keeps: Literal["everything", "parts", "nothing"] = "everything"
    """What survives an update; parts: those of unfinished uploads, but no object."""
    url_order: Literal["sorted", "shuffled"] = "sorted"
    etag: Literal["md5", "opaque", "absent"] = "md5"
    """Of what the store holds; opaque: no MD5 anywhere; absent: the PUT's answer has none."""
    request_id: Literal["present", "absent"] = "present"
    """Whether answers of the service and the store carry one."""
    delete_allowed: Literal["documented", "waiting-only"] = "documented"
    confirm_letter: Literal["accepted", "refused"] = "accepted"
    """Whether CONFIRM_AUTHORIZATION_LETTER exists here."""

    def __post_init__(self) -> None:
        """Refuse a value of another dimension."""
        for name, value in self.values.items():
            _check_value(name, value)

    @property
    def values(self) -> dict[str, str]:
        """The value of every dimension, by its name on the command line."""
        return {_dashed(field.name): getattr(self, field.name) for field in dataclasses.fields(self)}

    def __str__(self) -> str:
        """Return what `--world` needs for this world: the values that are not the default, or ""."""
        return ",".join(
            f"{name}={value}" for name, value in self.values.items() if value != DIMENSIONS[name][0]
        )


def _dashed(name: str) -> str:
    return name.replace("_", "-")


DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    _dashed(name): get_args(hint) for name, hint in get_type_hints(World).items()
}
"""The values of each dimension by its name on the command line, the default first."""


def parse_world(text: str) -> World:
    """Return the world of "name=value,name=value", the rest by default.

    Raises ValueError that names the known dimensions or values, and for two values of one dimension.
    """
    values: dict[str, Any] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        _check_value(name, value)
        if values.setdefault(name, value) != value:
            raise ValueError(f"{name} cannot be both {values[name]} and {value}.")
    return World(**{name.replace("-", "_"): value for name, value in values.items()})


def _check_value(name: str, value: str) -> None:
    if name not in DIMENSIONS:
        known = ", ".join(f"{known}={'|'.join(values)}" for known, values in DIMENSIONS.items())
        raise ValueError(f"There is no {name!r} in a world; known are {known}.")
    if value not in DIMENSIONS[name]:
        raise ValueError(f"{name} must be {' or '.join(DIMENSIONS[name])}, not {value!r}.")
