"""Codes of programs and of how they are set up: PG2xx, PG4xx, PG5xx and PG6xx.

Layer: errors. Start reading at `RUNNING`.
"""

from __future__ import annotations

from typing import Final

from policyguard.codes.code import Code

_RUNNING: Final = {
    "PG201": Code(
        "A flow was blocked",
        "The policy doesn't cover this flow, forbids it, or it can't be told whether the condition"
        " holds. The message names the clause and the rule.",
        "Follow one of the remedies in the message; each says whose task it is. Purposes are never"
        " exchanged to make a flow pass.",
    ),
    "PG202": Code(
        "No purpose was given",
        "Code that handles labelled data must say why it runs. Without a purpose every flow is"
        " denied.",
        "Name the purpose at the function, the route or the job.",
    ),
    "PG203": Code(
        "Code names something that the policy doesn't know",
        "A data category, purpose, recipient or form in the program is not declared, so no rule"
        " can speak of it.",
        "Correct the spelling in the code, or declare the term in the policy.",
    ),
    "PG204": Code(
        "A fact counts as unknown",
        "The program gives a fact under a wrong name or with a value that can't be used, so rules"
        " that ask for it stay in doubt, and doubt blocks.",
        "Give it as the message says: consent, for example, maps purposes to true or false.",
    ),
    "PG205": Code(
        "The subject store doesn't answer",
        "What is known about a person could not be looked up in time or can't be used, so it counts"
        " as unknown, and flows that depend on it are blocked.",
        "Look at whether the store is up and quick, and gives a mapping of facts.",
    ),
    "PG206": Code(
        "A waiver has expired",
        "The exception it made has ended; the flows it let pass are denied again.",
        "Mend the flow, or have the exception reviewed again and move its `expires`.",
    ),
    "PG207": Code(
        "The shadow policy answers differently",
        "A flow that happens here would get another verdict under the policy that is compared.",
        "Decide which of the two is meant before the shadow policy comes into force.",
    ),
    "PG208": Code(
        "A transform's claim has expired",
        "Nobody vouches any more that the function's result has the form it claims, so the result"
        " counts as what went in.",
        "Have the function reviewed again and move its `expires`.",
    ),
    "PG209": Code(
        "Redaction failed",
        "What may not leave could not be taken out, so nothing left.",
        "Send less, or have the message's flow mended; please report an error of the redaction.",
    ),
}

_SET_UP: Final = {
    "PG401": Code(
        "The dialect of SQL is not known",
        "Most statements can be read under a wrong dialect too, with another meaning, so it"
        " is never guessed.",
        "Say which dialect the database speaks; the message lists the known ones.",
    ),
    "PG501": Code(
        "There is no configuration",
        "The file can't be read, or has no `[tool.policyguard]`. Nothing starts without knowing"
        " which policy holds.",
        "Run `policyguard init`, or check the path.",
    ),
    "PG502": Code(
        "The configuration is not valid TOML",
        "The text breaks off or has a sign in the wrong place. Nothing of it is used.",
        "Look at the place that is named; often a quote or a bracket is missing.",
    ),
    "PG503": Code(
        "A route that can't be used",
        "The pattern of a route or its purpose can't be read, so requests would run without one.",
        "Write a method and a path, such as `POST /images`, or a path with `*`.",
    ),
    "PG504": Code(
        "The configuration names something that the policy doesn't know",
        "A rule, recipient, purpose or data category in the configuration is not declared, so the"
        " entry would never match.",
        "Correct the spelling; the message suggests the nearest name.",
    ),
    "PG505": Code(
        "An unknown key or a wrong value in the configuration",
        "A misspelt key would silently change nothing.",
        "Correct it as the message says.",
    ),
    "PG506": Code(
        "The configuration leaves a gap",
        "Nothing is hooked, or what is hooked has no labels to look for, so flows pass unseen.",
        "List the plugins and the data map that the message names.",
    ),
    "PG507": Code(
        "A schema can't be read",
        "Where tables and columns should be listed, nothing usable is: a file is missing or of"
        " another kind, or a database can't be reached.",
        "Look at what the message names; `policyguard schema-lock` writes a file that can be read.",
    ),
    "PG601": Code(
        "An integration can't be installed",
        "A plugin is missing, doesn't fit the installed library, or failed. What it should have"
        " guarded is not guarded, so the program doesn't start.",
        "Install the distribution that the message names, or take it out of the configuration.",
    ),
    "PG602": Code(
        "A reporter failed",
        "A decision could not be reported; the decision itself stands.",
        "Look at the reporter that the message names.",
    ),
    "PG603": Code(
        "A changed file can't be used",
        "The policy, the data map or the configuration has changed to something with errors. What"
        " was in force before stays in force.",
        "Correct what the message lists; the file is read again as soon as it changes. A program"
        " that starts now would refuse to.",
    ),
}

RUNNING: Final = {**_RUNNING, **_SET_UP}
