"""All rules by id, their findings, and the rule that a review refers to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.preflight.rules.footage import FOOTAGE_RULES
from orchestrator.preflight.rules.manifests import MANIFEST_RULES
from orchestrator.preflight.rules.rule import Rule, Verdict

#: Every rule by its id, in the order of the ids.
RULES: Mapping[str, Rule] = {
    rule.id: rule for rule in sorted((*MANIFEST_RULES, *FOOTAGE_RULES), key=lambda rule: rule.id)
}
#: Rules with a pattern for reviewers' reasons, which are in Chinese or English; the first match counts.
_WORDS: tuple[tuple[str, str], ...] = (
    ("P16", r"two (people|persons|faces)|no face|face.{0,20}(small|unclear|not clear)|人脸|面部|多人|两人"),
    ("P06", r"id card|identity card|glare|letter|authori[sz]ation|身份证|反光|授权书"),
    ("P03", r"rotat|orientation|upright|sideways|横向|方向|旋转"),
    ("P11", r"uneven|shadow|wrinkle|光线不均|阴影|褶皱"),
    ("P10", r"green|background|screen|绿幕|背景"),
    ("P15", r"silen(t|ce).{0,20}(start|begin|lead|first|15)|lead-in|mouth|静默|闭嘴|前15秒|前 15"),
    ("P13", r"\bcut|edited|one take|camera (moved|shak)|shak(e|y|ing)|剪辑|镜头|抖动|跳切"),
    ("P17", r"jump|frozen|freeze|skip|卡顿|跳帧|定格"),
    ("P12", r"dark|bright|exposure|black|flash|过暗|过曝|黑屏|亮度"),
    ("P14", r"nois|sound|voice|audio|loud|clip|噪音|噪声|声音|音频|音量"),
    ("P02", r"frame rate|fps|帧率"),
    ("P09", r"resolution|codec|format|h\.?265|hevc|分辨率|编码|格式"),
    ("P08", r"length|duration|too (short|long)|minutes|时长|分钟"),
    ("P01", r"damaged|corrupt|incomplete|cannot be (read|played)|损坏|无法播放"),
)
#: Documented codes of the review (metastudio-protocol section 1.2).
_BY_CODE = {"44005901": "P09"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A message of a rule about one file; an error stops the batch."""

    rule: str
    message: str
    verdict: Verdict | None
    is_error: bool = False


def refused(rule: str, message: str) -> Finding:
    """Return a finding that violates a rule which the service publishes."""
    return Finding(rule, message, RULES[rule].verdict_of(is_error=True), is_error=True)


def likely_refused(rule: str, message: str) -> Finding:
    """Return a finding that the service's guide for filming warns about."""
    return Finding(rule, message, Verdict.LIKELY_REFUSED)


def look_first(rule: str, message: str) -> Finding:
    """Return a finding that a person should look at."""
    return Finding(rule, message, Verdict.LOOK_FIRST)


def rule_of_review(reason: str | None, code: str | None) -> str | None:
    """Return the rule that matches the reviewer's *reason* or *code*; None when no rule matches."""
    if code and code.rpartition(".")[2] in _BY_CODE:
        return _BY_CODE[code.rpartition(".")[2]]
    words = (reason or "").casefold()
    return next((rule for rule, pattern in _WORDS if re.search(pattern, words)), None)
