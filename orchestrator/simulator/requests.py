"""What the training-job calls accept: fields, ranges and enums (metastudio-protocol sections 1.1 to 1.6);
and what is answered when the simulator says no.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ApiError(Exception):
    """The control API refuses with an HTTP status and a JSON body (metastudio-protocol section 3)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class CommandRefusedError(Exception):
    """A command is refused inside an HTTP 200 (metastudio-protocol section 1.6)."""

    def __init__(self, message: str, code: str = "MSS.00000003") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StoreError(Exception):
    """The object store refuses with an XML body (metastudio-protocol section 5.3)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


CommandMessage = Literal["UPDATE_VIDEO", "UPLOAD_VIDEO", "CONFIRM_ACTION_VIDEO", "GET_ACTION_VIDEO_MULTIPART"]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Contact = Annotated[str, Field(max_length=64)]
PartCount = Annotated[int, Field(ge=1, le=1000)]
Tags = Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=10)]
Service = Literal["VIDEO_2D", "LIVE_2D", "CHAT_2D"]
Services = Annotated[list[Service], Field(max_length=10)]
AudioSource = Literal["VIDEO", "AUDIO"]
Filter = Annotated[str, Field(max_length=256)]
Instant = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)


class VoiceProperties(_Body):
    """The voice of a flexus job; all three are mandatory."""

    job_tag: Literal["ECOMMERCE", "NEWS", "MARKETING"]
    sex: Literal["FEMALE", "MALE"]
    language: Literal["CN", "EN"]


class CreateBody(_Body):
    """Create (section 1.1)."""

    name: Name
    contact: Contact | None = None
    command_message: CommandMessage = "UPLOAD_VIDEO"
    video_multipart_count: PartCount = 1
    action_video_multipart_count: PartCount = 1
    is_background_replacement: bool = True
    batch_name: Name | None = None
    tags: Tags | None = None
    model_version: Literal["V2", "V3", "V3.2", "V3.3"] = "V3.2"
    is_ondemand_resource: bool = False
    is_flexus: bool = False
    is_fast_flexus: bool = False
    is_live_copy: bool = False
    is_only_human_model: bool = False
    audio_source_type: AudioSource = "VIDEO"
    voice_properties: VoiceProperties | None = None
    supported_service: Services | None = None


class ActionSample(_Body):
    """One action of an update's samples_basic_info."""

    action_tag: str
    action_name_zh: str | None = None
    action_name_en: str | None = None
    catalog: str | None = None
    recommended_value: int | None = None
    is_selected: bool | None = None


class UpdateBody(_Body):
    """Update (section 1.4); what is absent stays as it was."""

    name: Name | None = None
    contact: Contact | None = None
    command_message: CommandMessage | None = None
    video_multipart_count: PartCount | None = None
    action_video_multipart_count: PartCount | None = None
    is_background_replacement: bool | None = None
    batch_name: Name | None = None
    tags: Tags | None = None
    is_fast_flexus: bool | None = None
    samples_basic_info: list[ActionSample] | None = None
    voice_properties: VoiceProperties | None = None
    supported_service: Services | None = None
    audio_source_type: AudioSource | None = None


class CommentData(_Body):
    """A comment that travels with a command."""

    comment_title: Annotated[str, Field(max_length=2048)] | None = None
    comment_message: Annotated[str, Field(max_length=2048)] | None = None
    attachment_name: Annotated[list[str], Field(max_length=100)] | None = None


class CommandBody(_Body):
    """Command (section 1.6)."""

    command: Literal[
        "GET_MULTIPART_UPLOADED",
        "CONFIRM_MULTIPART_UPLOADED",
        "GET_ACTION_VIDEO_MULTIPART_UPLOADED",
        "CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED",
        "SUBMITVERIFYING",
        "CONFIRM_AUTHORIZATION_LETTER",
        "DELETE_JOB_VIDEO",
        "CONFIRM_REPAIR",
        "CONFIRM_ACCEPT",
        "CONFIRM_REJECT",
        "CONFIRM_ANSWER",
        "CONFIRM_PENDING",
        "CONFIRM_ACTIVE",
    ]
    command_message: CommandMessage = "UPLOAD_VIDEO"
    comment_data: CommentData | None = None
    operation_reason: str | None = None


class ListQuery(BaseModel):
    """List (section 1.2); values come as text."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    offset: Annotated[int, Field(ge=0, le=2147483647)] = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    state: Annotated[str, Field(max_length=1024)] | None = None
    sort_key: Literal["create_time", "update_time", "asset_order"] = "create_time"
    sort_dir: Literal["asc", "desc"] = "asc"
    create_since: Instant | None = None
    create_until: Instant | None = None
    update_since: Instant | None = None
    update_until: Instant | None = None
    query_project_id: Filter | None = None
    batch_name: Filter | None = None
    tag: Filter | None = None
    job_id: Annotated[str, Field(max_length=64)] | None = None
    name: Filter | None = None
    model_resolution: Filter | None = None
    is_flexus: bool | None = None
    is_live_copy: bool | None = None
    train_location: Filter | None = None
    is_ondemand_resource: bool | None = None


Model = TypeVar("Model", bound=BaseModel)


def parse_body(model: type[Model], body: bytes) -> Model:
    """Return the validated body or raise the service's 400."""
    try:
        document = json.loads(body)
    except ValueError:
        raise ApiError(400, "MSS.10000002", "Request JSON exception") from None
    return validate(model, document)


def validate(model: type[Model], document: Any) -> Model:
    """Return the validated document or raise 400 MSS.00000003 naming the first bad field."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        place = ".".join(str(step) for step in error.errors(include_input=False)[0]["loc"])
        raise ApiError(400, "MSS.00000003", f"Invalid parameter: {place or 'body'}") from None
