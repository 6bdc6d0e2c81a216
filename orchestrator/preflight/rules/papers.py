"""Rules for what goes with a film: pictures, letter, voice, contact."""

from __future__ import annotations

from orchestrator.preflight.rules.rule import Rule, Verdict

PAPER_RULES = (
    Rule(
        id="P06",
        title="pictures, letters and voices are whole",
        source="MetaStudio review FAQ: face on the ID card unreadable; codes MSS.20020011, .20020012, .20020024",
        verdicts=(Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST),
        explanation=(
            "Each format has an end: IEND of a PNG, EOI of a JPEG, %%EOF of a PDF, the directory of a zip. A file "
            "without it was cut. A voice zip holds only WAV or MP3; an ID card under 1000 pixels is hard to read."
        ),
        fix="Copy or export the file again; scan the card larger; pack only sound into the zip.",
    ),
    Rule(
        id="P07",
        title="a contact is given",
        source="MetaStudio guide: the creator's phone number, asked back when a review has questions",
        verdicts=(Verdict.LOOK_FIRST,),
        explanation=(
            "A contact is a phone number of at least 7 digits or an e-mail address. It is never repeated in a "
            "message."
        ),
        fix="Fill in contact, for the avatar or under defaults.",
    ),
)
