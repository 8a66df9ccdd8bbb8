"""Codes of what a person wrote: PG0xx, PG1xx and PG3xx.

Layer: errors. Start reading at `WRITTEN`.
"""

from __future__ import annotations

from typing import Final

from policyguard.codes.code import Code

_FILES: Final = {
    "PG000": Code(
        "An error without a code of its own",
        "Something went wrong that has no number. Whatever was asked is denied.",
        "Read the message; please report an error that has no better code.",
    ),
    "PG001": Code(
        "The file can't be read",
        "It is missing, too large, not a regular file, or may not be opened. Without a policy that"
        " can be read nothing is permitted.",
        "Check the path and its permissions. Split a file of more than 1 MiB with `extends`.",
    ),
    "PG002": Code(
        "The file is not plain UTF-8 text",
        "It has another encoding, or characters that don't show: such a text may read differently"
        " to a person and to a program.",
        "Save the file as UTF-8 and remove the character at the place that is named.",
    ),
    "PG003": Code(
        "The file is not valid YAML",
        "The text breaks off, is indented wrongly, or has a sign in the wrong place. Nothing of it"
        " is used.",
        "Look at the place that is named and at the line before it; often a quote, a colon or a"
        " bracket is missing.",
    ),
    "PG004": Code(
        "The file is larger or deeper than allowed",
        "A file may have 1 MiB, 32 levels, 50,000 parts, and a policy 10,000 rules. More is a"
        " mistake or an attack, so nothing of it is used.",
        "Split the policy with `extends`, or take the nesting out.",
    ),
    "PG005": Code(
        "Anchors, aliases, merge keys and tags are not allowed",
        "They make a file mean something else than what stands there.",
        "Write the part out where it belongs.",
    ),
    "PG006": Code(
        "A second document in one file",
        "What follows a line of `---` would be overlooked.",
        "Put it into a file of its own.",
    ),
    "PG007": Code(
        "A key is written twice",
        "Only one of the two could count, and nobody could tell which was meant.",
        "Merge the two, or rename one.",
    ),
    "PG008": Code(
        "The file is empty, or not what is expected",
        "A policy and a data map are mappings, a truth table is a list of rows.",
        "Start a policy with `policyguard: 1`, a data map with `tables:`.",
    ),
}

_MEANING: Final = {
    "PG101": Code(
        "An unknown key",
        "A misspelt key would silently be no rule, so every key must be one of the language.",
        "Correct the spelling; the message suggests the nearest key.",
    ),
    "PG102": Code(
        "Something is missing",
        "A permit must say which data, for which purposes and to whom: nothing is permitted by"
        " leaving it out.",
        "Add the key. If all is meant, write `any` or `anyone`.",
    ),
    "PG103": Code(
        "A value of the wrong kind",
        "The value is not of the kind that stands there, so its meaning would be a guess.",
        "Write it as the message says.",
    ),
    "PG104": Code(
        "An unknown data category",
        "No such category is built in or declared under `terms.data`. A rule about it would cover"
        " nothing.",
        "Take the suggested term, find one with `policyguard terms WORD`, or declare it.",
    ),
    "PG105": Code(
        "An unknown purpose",
        "No such purpose is built in or declared under `terms.purposes`.",
        "Take the suggested term, find one with `policyguard terms WORD`, or declare it.",
    ),
    "PG106": Code(
        "An unknown recipient",
        "The recipient is neither built in (`self`, `subject`) nor declared under `recipients`.",
        "Correct the spelling, or declare the recipient with its kind.",
    ),
    "PG107": Code(
        "An unknown clause",
        "A rule cites a part of the notice that is not listed under `notice.clauses`.",
        "Correct the id, or add the clause in your own words.",
    ),
    "PG108": Code(
        "An unknown fact",
        "A condition or column speaks of a fact that nobody declared, so nobody would supply it.",
        "Declare it under `terms.facts`, or correct the spelling.",
    ),
    "PG109": Code(
        "An id or term that is not well written",
        "Ids are small letters, digits, `_`, `.` and `-`: letters that look alike must not make"
        " two ids. Words such as `no` or a date must stand in quotes to be text.",
        "Rename it, or put it in quotes.",
    ),
    "PG110": Code(
        "An id is used twice",
        "Two rules, retentions, obligations or cases with one id could not be told apart in a"
        " decision.",
        "Rename one of them.",
    ),
    "PG111": Code(
        "A form that makes no sense here",
        "Several forms must say whether all or any of them are asked for; `raw` goes with no other"
        " form; a forbid asks for `raw` only.",
        "Write `form: {all_of: [...]}` or `form: {any_of: [...]}`.",
    ),
    "PG112": Code(
        "A duration that can't be read",
        "Durations are written as ISO 8601 has them, in whole numbers: `P6M` is six months.",
        "Write for example P6M, P45D or PT72H.",
    ),
    "PG113": Code(
        "An unknown region",
        "Regions are ISO 3166 codes of states or parts of states, EU and EEA.",
        "Write for example DE, US-CA or EU; the United Kingdom is GB.",
    ),
    "PG114": Code(
        "A host that can't be used",
        "Hosts are named exactly or by `*.` and a name that one owner holds. Anything wider would"
        " stand for everybody.",
        "Write `www.example.com`, `*.example.com` or `www.example.com/path`.",
    ),
    "PG115": Code(
        "An unknown version of the language",
        "The file says a version that this program doesn't read, so its meaning may have changed.",
        "Write `policyguard: 1`, or install the version that the file needs.",
    ),
    "PG116": Code(
        "A parent that may not be read",
        "`extends` takes relative paths of files inside the policy's own folder.",
        "Copy the parent into the folder.",
    ),
    "PG117": Code(
        "Files that extend each other in a circle",
        "A policy can't be its own parent; the message shows the way round.",
        "Remove one of the `extends`.",
    ),
    "PG118": Code(
        "A child gives a parent's name another meaning",
        "Who extends a policy adds to its promises and never changes or removes one.",
        "Give the new part another name.",
    ),
    "PG119": Code(
        "An own term that hangs below nothing",
        "Own terms refine existing ones, so that a broader promise covers them too.",
        "Hang it below a term that exists; `policyguard terms WORD` finds one.",
    ),
    "PG120": Code(
        "A condition that asks for nothing",
        "An empty condition would hold always or never, depending on the reader.",
        "Say what must hold, or leave `when` out.",
    ),
    "PG130": Code(
        "A label that says too little",
        "An entry of a data map names data, whose row it is, or a fact; consent and opt-out name"
        " the purpose they were given for.",
        "Complete the entry as the message says, or remove it.",
    ),
    "PG131": Code(
        "A name that can't be one",
        "Names of tables, columns and fields are one line of text without spaces around it.",
        "Correct the name.",
    ),
    "PG132": Code(
        "A name is written twice, in different case",
        "Tables, columns and fields count without their case, so only one of the two could count.",
        "Merge the two entries.",
    ),
}

_LINT: Final = {
    "PG301": Code(
        "A rule whose condition contradicts itself",
        "No facts can make the condition hold, so the rule never applies.",
        "Mend the condition or remove the rule.",
    ),
    "PG302": Code(
        "A rule that covers nothing",
        "Its exceptions take everything out, no recipient is of the kind or place it names, or its"
        " data stand under `named_only` without being named.",
        "Narrow the exception, name the data, or remove the rule.",
    ),
    "PG303": Code(
        "A rule that changes nothing",
        "Another rule without a condition covers all of it with the same effect.",
        "Remove the rule, or narrow the other one if that was meant.",
    ),
    "PG304": Code(
        "A permit that a forbid takes back",
        "A forbid without a condition covers all of it, and forbids win: nothing is permitted.",
        "Decide which promise holds, and remove or narrow the other rule.",
    ),
    "PG305": Code(
        "A recipient that no rule mentions",
        "It is declared, but nothing is permitted or forbidden for it by name, kind or place.",
        "Write the rule that is missing, or remove the recipient.",
    ),
    "PG306": Code(
        "A clause that nothing stands for",
        "The notice promises something that no rule, retention or obligation cites.",
        "Cite it where it belongs, or say under `unenforced` why no rule stands for it.",
    ),
    "PG307": Code(
        "Rules without a clause",
        "A rule that cites nothing can't be traced to the published text.",
        "Add `notice.clauses` and `cites`.",
    ),
    "PG308": Code(
        "Clauses without a digest",
        "When the published text changes, nobody will notice that the rules stand for the old one.",
        "Add `sha256` of the clause's text.",
    ),
    "PG309": Code(
        "A built-in term is given another meaning",
        "The built-in meaning counts; the one in the file is only text.",
        "Remove it, or add a term of your own below it.",
    ),
    "PG310": Code(
        "A placeholder is left in a text",
        "A blank of a template was never filled in, so a person reads something that means"
        " nothing.",
        "Fill it in. If the published text has the blank, it must be mended there.",
    ),
    "PG311": Code(
        "A very broad permit",
        "It says `any` data, `any` purpose or `anyone`, and so permits what is added later too.",
        "Name the data, purposes and recipients that are meant.",
    ),
    "PG312": Code(
        "Two recipients claim one host",
        "A request to this host could be for either; the stricter verdict counts.",
        "Give each recipient its own hosts or paths.",
    ),
    "PG313": Code(
        "A built-in recipient with another kind",
        "`self` is always the company and `subject` the person; another kind doesn't count.",
        "Give the other recipient an id of its own.",
    ),
    "PG314": Code(
        "Minutes where months may be meant",
        "`PT6M` is six minutes; six months are `P6M`.",
        "Write `P6M` if months are meant, and seconds (`PT360S`) if not.",
    ),
    "PG315": Code(
        "A permit that asks for raw data",
        "It shuts out pseudonymised and anonymised data, which are safer.",
        "Leave `form` out: a permit without it takes every form.",
    ),
    "PG316": Code(
        "Labelled data that no permit reaches",
        "The data map says that a column holds these data, but every use of them is denied.",
        "Permit the use that the notice states, or collect the data no longer.",
    ),
    "PG317": Code(
        "The end of a contract is not watched",
        "A decision knows no clock, so a contract's end changes nothing by itself.",
        "Put the date into a calendar, and remove the recipient when the contract ends.",
    ),
}

WRITTEN: Final = {**_FILES, **_MEANING, **_LINT}
