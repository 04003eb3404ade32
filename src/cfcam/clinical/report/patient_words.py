"""The words of the patient's page, in each of its languages; short ones, which tests measure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cfcam.errors import InputError


@dataclass(frozen=True)
class PatientWords:
    """Everything that the page says, in one language.

    Attributes:
        language: its code, for browsers and screen readers.
        research: what stands above everything.
        title: of the page.
        release: that somebody must read it first.
        given_by: before the line for a name.
        date: before the line for a date.
        what: heading and text of what this is.
        picture: heading of the picture.
        alt: the picture for those who do not see it.
        slice_: that it is one slice of several; of volumes only.
        least: left end of the bar.
        most: its right end.
        shown: what is seen.
        sides: which side is which; where the picture has letters.
        asked: before the name of the class.
        score: before the score.
        not_a_risk: behind it.
        no_score: in place of both.
        nothing: in place of the picture.
        is_not: heading and lines of what a map is not.
        ask: heading and text of whom to ask.
        questions: to ask there.
        care_team: before what finds the study.
        record: before the record.
        none: in place of a record.
        shares: of a hundred; more than 99; less than 1.
    """

    language: str
    research: str
    title: str
    release: str
    given_by: str
    date: str
    what: tuple[str, str]
    picture: str
    alt: str
    slice_: str
    least: str
    most: str
    shown: str
    sides: str
    asked: str
    score: str
    not_a_risk: str
    no_score: str
    nothing: str
    is_not: tuple[str, tuple[str, ...]]
    ask: tuple[str, str]
    questions: tuple[str, ...]
    care_team: str
    record: str
    none: str
    shares: tuple[str, str, str]

    def out_of_100(self, value: float | None) -> str:
        """Returns a probability in words that need no decimals; "" for none.

        Example:
            >>> ENGLISH.out_of_100(0.42), GERMAN.out_of_100(0.999), ENGLISH.out_of_100(0.001)
            ('42 out of 100', 'mehr als 99 von 100', 'less than 1 out of 100')
        """
        if value is None or not math.isfinite(value):
            return ""
        plain, above, below = self.shares
        return above if 0.99 < value < 1 else below if 0 < value < 0.01 else plain.format(round(100 * value))


ENGLISH = PatientWords(
    language="en",
    research="Research use only. Not a medical device.",
    title="What the computer looked at",
    release="Your doctor must read this page first and sign it before it is given to you.",
    given_by="Given out by (name):",
    date="Date:",
    what=(
        "What is this?",
        (
            "A picture of your body was made. A computer program was also shown this picture. The program is still"
            " being tested. This page shows which part of the picture it used most."
        ),
    ),
    picture="The picture",
    alt="Your picture. A line is drawn around the part that the program used most.",
    slice_="You see one slice of many.",
    least="used least",
    most="used most",
    shown="A line is drawn around the part that the program used most. The brighter a place is coloured, the more it"
    " counted. The other parts counted less.",
    sides="The letter R is on your right side. The letter L is on your left side.",
    asked="The program was asked one thing: does this look like",
    score="Its score was",
    not_a_risk="This score is not your chance of being ill.",
    no_score="Its score is not known.",
    nothing="There is no picture to show. The program could not say where it looked. This says nothing about your"
    " health.",
    is_not=(
        "What it is not, and does not mean",
        (
            "It is not what a doctor has seen in your picture. A computer made it.",
            "It does not show what an illness looks like, or where one is.",
            "Bright colours do not mean that you are ill.",
            "Dark parts do not mean that all is well.",
            "The size of the bright part is not the size of a problem in your body.",
            "The program can be wrong. It can also look at the wrong place, such as a wire or a letter in the picture.",
            "The program does not know you. It does not know how you feel or what other tests have shown.",
        ),
    ),
    ask=(
        "Ask your doctor",
        (
            "Only your doctor can tell you what the picture means for you. Do not start, stop or change any care"
            " because of this page. You may want to ask:"
        ),
    ),
    questions=("What did you see in my picture?", "Do you agree with the program?", "What happens next?"),
    care_team="For your care team:",
    record="record",
    none="none",
    shares=("{} out of 100", "more than 99 out of 100", "less than 1 out of 100"),
)

GERMAN = PatientWords(
    language="de",
    research="Nur für die Forschung. Kein Medizinprodukt.",
    title="Worauf der Computer geschaut hat",
    release="Ihr Arzt oder Ihre Ärztin muss diese Seite zuerst lesen. Sie bekommen sie erst mit Unterschrift.",
    given_by="Gegeben von (Name):",
    date="Datum:",
    what=(
        "Was ist das?",
        (
            "Von Ihrem Körper wurde ein Bild gemacht. Auch ein Computer hat dieses Bild bekommen. Sein Programm"
            " wird noch getestet. Diese Seite zeigt, welcher Teil vom Bild am meisten zählte."
        ),
    ),
    picture="Das Bild",
    alt="Ihr Bild. Um den Teil, der für das Programm am meisten zählte, ist eine Linie gezogen.",
    slice_="Sie sehen eine Schicht von vielen.",
    least="zählte wenig",
    most="zählte viel",
    shown="Um den Teil, der am meisten zählte, ist eine Linie gezogen. Je heller eine Stelle gefärbt ist, desto mehr"
    " zählte sie. Die anderen Teile zählten weniger.",
    sides="Der Buchstabe R steht auf Ihrer rechten Seite. Der Buchstabe L steht auf Ihrer linken Seite.",
    asked="Das Programm wurde nur eines gefragt. Sieht das aus wie",
    score="Es gab diese Punkte:",
    not_a_risk="Die Punkte sagen nicht, ob Sie krank sind.",
    no_score="Die Punkte sind nicht bekannt.",
    nothing="Es gibt kein Bild zu sehen. Das Programm konnte nicht sagen, worauf es geschaut hat. Das sagt nichts über"
    " Ihre Gesundheit.",
    is_not=(
        "Was es nicht ist und nicht heißt",
        (
            "Es ist nicht das, was ein Arzt auf Ihrem Bild gesehen hat. Ein Computer hat es gemacht.",
            "Es zeigt nicht, wie eine Krankheit aussieht oder wo sie ist.",
            "Helle Farben heißen nicht, dass Sie krank sind.",
            "Dunkle Stellen heißen nicht, dass alles gut ist.",
            "Wie groß die helle Stelle ist, sagt nicht, wie groß etwas in Ihrem Körper ist.",
            (
                "Das Programm kann sich irren. Es kann auch auf die falsche Stelle schauen. Das kann zum Beispiel ein"
                " Kabel sein, oder ein Buchstabe auf dem Bild."
            ),
            "Das Programm kennt Sie nicht. Es weiß nicht, wie es Ihnen geht. Es weiß nicht, was man sonst geprüft hat.",
        ),
    ),
    ask=(
        "Fragen Sie Ihren Arzt oder Ihre Ärztin",
        (
            "Nur Ihr Arzt oder Ihre Ärztin kann Ihnen sagen, was das Bild für Sie heißt. Ändern Sie wegen dieser Seite"
            " nichts an dem, was Sie nehmen oder tun. Sie können fragen:"
        ),
    ),
    questions=("Was haben Sie auf meinem Bild gesehen?", "Sehen Sie es so wie das Programm?", "Wie geht es weiter?"),
    care_team="Für Ihre Praxis oder Klinik:",
    record="Eintrag",
    none="keiner",
    shares=("{} von 100", "mehr als 99 von 100", "weniger als 1 von 100"),
)

LANGUAGES: Mapping[str, PatientWords] = {one.language: one for one in (ENGLISH, GERMAN)}
"""By code."""


def words_of(language: str) -> PatientWords:
    """Returns the words of a language.

    Raises:
        InputError: the page is not written in it.
    """
    if language not in LANGUAGES:
        raise InputError(f"language {language!r}: the patient's page is written in {', '.join(LANGUAGES)}")
    return LANGUAGES[language]
