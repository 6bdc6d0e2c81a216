"""The request models of the training-job calls, and the errors with which the simulator refuses them.

Fields, ranges and enums are as in metastudio-protocol sections 1.1 to 1.6.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ApiError(Exception):
    """A refusal of the control API, with an HTTP status and a JSON body (metastudio-protocol section 3)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class CommandRefusedError(Exception):
    """A refusal of a command inside an HTTP 200 (metastudio-protocol section 1.6)."""

    def __init__(self, message: str, code: str = "MSS.00000003") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StoreError(Exception):
    """A refusal of the object store, with an XML body (metastudio-protocol section 5.3)."""

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
    """The voice of a flexus job; all three fields are required."""

    job_tag: Literal["ECOMMERCE", "NEWS", "MARKETING"]
    sex: Literal["FEMALE", "MALE"]
    language: Literal["CN", "EN"]


class CreateBody(_Body):
    """The body of a create request (section 1.1)."""

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
    """One action in an update's samples_basic_info."""

    action_tag: str
    action_name_zh: str | None = None
    action_name_en: str | None = None
    catalog: str | None = None
    recommended_value: int | None = None
    is_selected: bool | None = None


class UpdateBody(_Body):
    """The body of an update request (section 1.4); absent fields are unchanged."""

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
    """A comment sent with a command."""

    comment_title: Annotated[str, Field(max_length=2048)] | None = None
    comment_message: Annotated[str, Field(max_length=2048)] | None = None
    attachment_name: Annotated[list[str], Field(max_length=100)] | None = None


class CommandBody(_Body):
    """The body of a command request (section 1.6)."""

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
    """The query of a list request (section 1.2); values arrive as text."""

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
    """Return the validated document or raise 400 MSS.00000003 with the first invalid field."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        place = ".".join(str(step) for step in error.errors(include_input=False)[0]["loc"])
        raise ApiError(400, "MSS.00000003", f"Invalid parameter: {place or 'body'}") from None
