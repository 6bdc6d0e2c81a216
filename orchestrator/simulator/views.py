"""Jobs as list and show answer them (metastudio-protocol sections 1.2 and 1.3)."""

from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.simulator.jobs import JOB_SUCCESS, Job, timestamp
from orchestrator.simulator.persistence import Document
from orchestrator.simulator.requests import ListQuery

_BASIC_FIELDS = (
    "contact",
    "batch_name",
    "tags",
    "model_version",
    "is_flexus",
    "is_live_copy",
    "is_fast_flexus",
    "is_only_human_model",
    "is_background_replacement",
    "is_ondemand_resource",
)
_SHOWN_FIELDS = ("voice_properties", "audio_source_type", "supported_service")


def basic_info(job: Job, downloads: Document, *, with_tags: bool) -> Document:
    """Return a job as list answers it, with its download URLs; the last field is one that no client can know."""
    info: Document = {
        "job_id": job.job_id,
        "name": job.fields["name"],
        "state": job.state,
        "project_id": job.project_id,
        "create_time": timestamp(job.created_at),
        "last_update_time": timestamp(job.updated_at),
        "matting_type": "AI",
        "model_resolution": job.model_resolution,
        "app_user_id": job.app_user_id,
        "asset_id": job.job_id[::-1] if job.state == JOB_SUCCESS else None,
        **{name: job.fields[name] for name in _BASIC_FIELDS},
        **downloads,
        "is_simulated": True,
    }
    if not with_tags:
        del info["tags"]
    return {name: value for name, value in info.items() if value is not None}


def full_info(job: Job, downloads: Document, *, with_tags: bool) -> Document:
    """Return a job as show answers it, with its download URLs."""
    shown = {name: job.fields[name] for name in _SHOWN_FIELDS if job.fields[name] is not None}
    return {
        **basic_info(job, downloads, with_tags=with_tags),
        **shown,
        "operation_logs": job.operation_logs,
        "comment_logs": [],
        "samples": job.fields.get("samples_basic_info") or [],
        "verify_video_download_url": "null",
        "is_mask_file_uploaded": False,
    }


def select(jobs: Iterable[Job], query: ListQuery, *, has_filters: bool) -> list[Job]:
    """Return all the jobs a list asks for, in its order; paging is the caller's.

    Without *has_filters* the service pays no attention to `tag` and `batch_name`.
    """
    if not has_filters:
        query = query.model_copy(update={"tag": None, "batch_name": None})
    wanted = [job for job in jobs if all(test(job) for test in _tests(query))]
    key: Callable[[Job], float] = (
        (lambda job: job.updated_at) if query.sort_key == "update_time" else (lambda job: job.created_at)
    )
    return sorted(wanted, key=key, reverse=query.sort_dir == "desc")


def _tests(query: ListQuery) -> list[Callable[[Job], bool]]:
    states = None if query.state is None else {state.strip() for state in query.state.split(",")}
    conditions: list[tuple[Any, Callable[[Job], bool]]] = [
        (states, lambda job: job.state in (states or ())),
        (query.create_since, lambda job: timestamp(job.created_at) >= (query.create_since or "")),
        (query.create_until, lambda job: timestamp(job.created_at) <= (query.create_until or "")),
        (query.update_since, lambda job: timestamp(job.updated_at) >= (query.update_since or "")),
        (query.update_until, lambda job: timestamp(job.updated_at) <= (query.update_until or "")),
        (query.query_project_id, lambda job: job.project_id == query.query_project_id),
        (query.batch_name, lambda job: job.fields["batch_name"] == query.batch_name),
        (query.tag, lambda job: query.tag in (job.fields["tags"] or ())),
        (query.job_id, lambda job: job.job_id == query.job_id),
        (query.name, lambda job: job.fields["name"] == query.name),
        (query.model_resolution, lambda job: job.model_resolution == query.model_resolution),
        (query.is_flexus, lambda job: job.fields["is_flexus"] == query.is_flexus),
        (query.is_live_copy, lambda job: job.fields["is_live_copy"] == query.is_live_copy),
        (query.train_location, lambda _: False),
        (
            query.is_ondemand_resource,
            lambda job: job.fields["is_ondemand_resource"] == query.is_ondemand_resource,
        ),
    ]
    return [test for asked, test in conditions if asked is not None]
