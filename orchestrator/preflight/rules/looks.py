"""Rules that need the film's pictures and sound: the quick look, the deep one, faces."""

from __future__ import annotations

from orchestrator.preflight.rules.rule import Extra, Rule, Verdict

_LIKELY, _LOOK = Verdict.LIKELY_REFUSED, Verdict.LOOK_FIRST

LOOK_RULES = (
    Rule(
        id="P10",
        title="the background is green where it must be",
        source="API reference of MetaStudio: is_background_replacement needs a green screen",
        verdicts=(_LIKELY, _LOOK),
        explanation=(
            "Looks at the left, right and upper border of about 24 pictures. Under 60 % of green there is likely "
            "refused, under 85 % worth a look: a chair or a wall beside the screen. Not checked for flexus, nor "
            "with is_background_replacement: false."
        ),
        fix="Move the camera closer or the screen wider; or is_background_replacement: false.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P11",
        title="the green screen is lit evenly",
        source="MetaStudio guide: lights constant, no shadows; Azure: flat and uniform green",
        verdicts=(_LOOK,),
        explanation=(
            "The spread of brightness (L*) over the green border. An evenly lit screen has about 3, one with a "
            "dark corner or a shadow over 12: the corner is cut out badly."
        ),
        fix="Light the screen by itself from both sides, and stand two metres before it.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P12",
        title="pictures are bright, none is black or blown out",
        source="MetaStudio review FAQ: the face must be clear; Tencent and Azure: no fades",
        verdicts=(_LIKELY, _LOOK),
        explanation="A black or white start, a black picture in between, or a film that is dark all through.",
        fix="Trim black off the start; film with more light.",
        command="ffmpeg -ss 2 -i IN.mp4 -c:v libx264 -crf 16 -preset slow -c:a aac OUT.mp4",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P13",
        title="the film is one take; camera and light stay as they are",
        source="MetaStudio guide: no cutting of the length; Tencent: unedited, no frame skips",
        verdicts=(_LIKELY, _LOOK),
        explanation=(
            "Compares the border of neighbouring pictures, where only the background is. A cut to another scene, "
            "a moved camera or a changed light shows there. Not checked for flexus, where the presenter may walk."
        ),
        fix="Send the take as it was filmed; slips need no stop.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P14",
        title="the voice is loud, clear and not clipped",
        source="MetaStudio guide: a low noise floor above all, no other voice",
        verdicts=(_LIKELY, _LOOK),
        explanation=(
            "Silence all through is likely refused. Worth a look: speech less than 15 dB above the noise, a very "
            "quiet recording (under -40 LUFS), and a clipped one. No service publishes a target loudness."
        ),
        fix="Microphone close (one fist), air conditioning off, level at -12 dB peak.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P15",
        title="the film starts with 15 silent seconds",
        source="MetaStudio guide: 15 to 20 s silent, mouth closed, looking at the camera; flexus guide: 15 s",
        verdicts=(_LOOK,),
        explanation=(
            "The first sustained speech comes before second 12. The model's resting face is taken from this lead-in."
        ),
        fix="Film it again with the lead-in, or ask the service whether this take will do.",
        extra=Extra.PREFLIGHT,
    ),
    Rule(
        id="P16",
        title="one face, upright, large enough",
        source="flexus guide: only the speaker in the picture, the face over 1/5 of it",
        verdicts=(_LIKELY, _LOOK),
        explanation=(
            "Counts faces in the pictures of the quick look; says nothing of whose they are. No face or two faces "
            "are likely refused; a small face or one at the edge is worth a look."
        ),
        fix="One person, upright, in the middle, closer to the camera.",
        extra=Extra.FACES,
    ),
    Rule(
        id="P17",
        title="no picture is frozen, no word is cut out",
        source="MetaStudio guide: no cutting of the length; Tencent: no frame skips",
        verdicts=(_LOOK,),
        explanation=(
            "Decodes every picture (the deep look, minutes of CPU per film). A jump cut is a step between two "
            "pictures far above all others; a freeze is over 0.8 s of identical pictures outside the lead-in."
        ),
        fix="Send the take as it was filmed.",
        extra=Extra.PREFLIGHT,
    ),
)
