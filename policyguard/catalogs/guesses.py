"""What names, types and tables usually hold: the table behind the guesses, as data.

Layer: catalogs. `policyguard.catalogs.suggest` reads it from the top: the first line that fits
counts, so the narrow stand before the wide.

A name is split into words and joined by `_`, with `_` at both ends: `billingEmail` is
`_billing_email_`. A pattern is searched in that, so `_e?mail_` means the whole word.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Guess(NamedTuple):
    """One line of the table.

    Attributes:
        data: data category.
        column: pattern of the column's name.
        table: pattern of the table's name, where the column's alone says too little.
        type: pattern of the type in lower case, where it must fit.
        form: the form such a column is usually stored in, or "".
    """

    data: str
    column: re.Pattern[str]
    table: re.Pattern[str] | None = None
    type: re.Pattern[str] | None = None
    form: str = ""


def _guess(data: str, column: str, table: str = "", kind: str = "", form: str = "") -> Guess:
    return Guess(
        data,
        re.compile(column),
        re.compile(table) if table else None,
        re.compile(kind) if kind else None,
        form,
    )


PEOPLE: Final = re.compile(
    r"_(app_?|auth_)?(users?|customers?|clients?|accounts?|persons?|people|members?|patients?"
    r"|profiles?|subscribers?|contacts?|leads?|employees?|guests?|visitors?|students?|teachers?"
    r"|candidates?|applicants?|recipients?|friends?|players?|drivers?|tenants?|authors?)_$"
)
"""Tables whose rows are people."""

SUBJECTS: Final = re.compile(
    r"_(user|customer|client|account|person|member|patient|subscriber|employee|visitor|student"
    r"|player|profile|owner|author|creator|sender|buyer|seller)_(id|uuid|guid|key|pk)_$"
)
"""Columns that name the person of a row."""

NOTHING: Final = re.compile(
    r"_(verified|confirmed|enabled|disabled|valid|invalid|required|visible|sent|bounced|count"
    r"|counter|total|template|subject_line|length|size|version|status|type|kind|expires|expiry"
    r"|attempts?|failures?|changed|updated|created|deleted|schema|provider|format)_(at_|on_|by_)?$"
    r"|^_(is|has|can|should|needs|num|n|no|count)_|_(at|on|ts|timestamp)_$"
)
"""Names that speak about a value without being it: `email_verified`, `has_phone`."""

BOOLEAN: Final = re.compile(r"^(bool|boolean|bit|tinyint\(1\))")
MOMENT: Final = re.compile(r"^(date|time|timestamp|interval|year)")
NUMBER: Final = re.compile(
    r"^(small|big|tiny|medium)?(int|serial|numeric|decimal|float|double|real)"
)

_TALK: Final = r"_(chats?|messages?|conversations?|dms?|threads?|rooms?|inbox|channels?)_"
_MAILS: Final = r"_(e?mails?|correspondence|letters?|newsletters?)_"
_HELP: Final = r"_(support|tickets?|help_?desk|complaints?|enquir(y|ies)|inquir(y|ies)|feedback)_"
_PAY: Final = r"_(payments?|charges?|transactions?|invoices?|refunds?|billings?|subscriptions?)_"
_TRACK: Final = (
    r"_(events?|page_?views?|visits?|usage|analytics|tracking|clicks?|sessions?|hits|impressions?"
    r"|activit(y|ies)|access_logs?|telemetry)_"
)
_BODY: Final = r"_(body|text|content|message|description|question|answer|subject)_$"
_PERSON: Final = PEOPLE.pattern

GUESSES: Final[tuple[Guess, ...]] = (
    # Of the body.
    _guess(
        "user.biometric.face_embedding",
        r"_(face|facial)_?(print|embeddings?|vectors?|encodings?|descriptors?|features?)_",
    ),
    _guess(
        "user.biometric.face_embedding",
        r"_(embeddings?|vectors?|encodings?|descriptors?)_",
        r"_(faces?|facial|portraits?|selfies?)_",
    ),
    _guess("user.biometric.face_id", r"_face_(id|uuid|token|key|hash)_"),
    _guess(
        "user.biometric.age_estimate",
        r"_((estimated|predicted|apparent|guessed)_age|age_(estimate|guess|prediction))_",
    ),
    _guess("user.device.device_id", r"_(device|browser|canvas)_finger_?print_"),
    _guess("user.biometric.fingerprint", r"_finger_?prints?_(template|scan|image|minutiae)_"),
    _guess("user.biometric.voice", r"_voice_?(print|sample|recording|embedding)?s?_$"),
    _guess("user.biometric.retinal", r"_(retina|retinal|iris)_"),
    _guess("user.biometric", r"_(biometrics?|gait|palm_?print)_"),
    # What opens an account.
    _guess(
        "user.authorization.two_factor",
        r"_(totp|otp|two_?factor|2fa|mfa)_(secret|seed|code|key|token|backup)s?_",
    ),
    _guess("user.authorization.two_factor", r"_(backup|recovery)_codes?_"),
    _guess(
        "user.authorization.password",
        r"_(pass_?words?|passwd|pwd|pass_?phrase|passcode)_(hash|digest|encrypted|salted)_",
        form="encrypted",
    ),
    _guess(
        "user.authorization.password",
        r"_(hashed|encrypted)_(pass_?word|passwd|pwd)_",
        form="encrypted",
    ),
    _guess("user.authorization.password", r"_(pass_?words?|passwd|pwd|pass_?phrase|passcode)_"),
    _guess("user.device.device_id", r"_(push|fcm|apns|registration)_token_"),
    _guess("user.authorization.access_token", r"_(access|refresh|bearer|o_?auth\d?|id)_tokens?_"),
    _guess(
        "user.authorization.credentials",
        r"_(credentials?|api_?keys?|private_key|secret_key|client_secret|jwt"
        r"|(auth|session|login|reset|remember|magic|invite|api)_(token|key"
        r"|secret)|security_answer)_",
    ),
    _guess("user.authorization.credentials", r"^_(token|secret)_$"),
    # Money and papers; before addresses and numbers in general.
    _guess(
        "user.financial.credit_card",
        r"_((credit_?|debit_?|payment_)?card_?(no|nr|num|number|holder|last_?4?|last_four)"
        r"|credit_?card|cc_?(no|num|number)|pan|cvv|cvc)_",
    ),
    _guess(
        "user.financial.bank_account",
        r"_(iban|bic|swift(_code)?|(bank_)?account_(no|nr|num|number)|routing_number|sort_code"
        r"|bank_account)_",
    ),
    _guess("user.financial", r"_(salary|income|credit_score|net_worth|wage)_"),
    _guess(
        "user.government_id.national_identification_number",
        r"_(ssn|social_security(_number)?|national_(id|insurance)(_number)?|tax_(id|number)|tin"
        r"|nino?|personal_(id|number)|sv_?nr|steuer_?id|cpf|curp|pesel|bsn|aadhaar)_",
    ),
    _guess("user.government_id.passport_number", r"_passports?(_(no|nr|num|number))?_"),
    _guess(
        "user.government_id.drivers_license_number", r"_(driv(er|ers|ing)_licen[cs]e|dl_number)_"
    ),
    _guess(
        "user.government_id.vehicle_registration",
        r"_(licen[cs]e_plate|number_plate|plate_number|vin)_",
    ),
    _guess("user.government_id", r"_(id_(card|document)(_number)?|government_id)_"),
    # Ways to reach somebody.
    _guess(
        "user.contact.email",
        r"_e_?mails?_(address(es)?_)?((hash|sha\d+|md5)_)",
        form="pseudonymised",
    ),
    _guess("user.contact.email", r"_(e_?mails?|mail_address|email_addr)_(address_)?$"),
    _guess("user.contact.email", r"_(primary|work|billing|contact|from|to|cc|bcc|reply)_e?mail_"),
    _guess("user.contact.email", r"_e_?mail_"),
    _guess("user.contact.email", r"_(sender|recipient|from|to)_(address_)?$", _MAILS),
    _guess(
        "user.contact.phone_number",
        r"_(phone|mobile|telephone|tel|msisdn|cell_?phone|whats_?app|sms_number|telefon|handy)s?_",
    ),
    _guess("user.contact.fax_number", r"_fax_"),
    _guess(
        "user.device.ip_address", r"_(ip|ip_?v?[46]?_?addr(ess)?|remote_addr|client_ip|ip_?v[46])_"
    ),
    _guess(
        "user.device.device_id",
        r"_(mac_addr(ess)?|imei|imsi|idfa|idfv|gaid|aaid|udid"
        r"|(advertising|android|device|hardware|installation)_(id|uuid|token|serial))_",
    ),
    _guess("user.contact.address.postal_code", r"_(post(al)?_?code|zip(_?code)?|plz|postcode)_"),
    _guess(
        "user.contact.address.street",
        r"_(street(_address)?|address_?(line_?)?\d|house_(no|number)|strasse"
        r"|address_line)_",
    ),
    _guess(
        "user.location.imprecise",
        r"_((geo|ip)_?(city|region|country|state|location|postal)"
        r"|approx\w*_location)_",
    ),
    _guess(
        "user.contact.address",
        r"_((billing|shipping|home|postal|mailing|delivery|street|invoice)_)?address(es)?_$",
    ),
    _guess("user.contact.address.city", r"_(city|town|ort)_$"),
    _guess("user.contact.url", r"_(website|home_?page)_(url_)?$", _PERSON),
    # Where somebody is.
    _guess(
        "user.location.precise",
        r"_(lat|latitude|lng|lon|long|longitude|gps\w*|coordinates?"
        r"|geo_?point|geo_?hash|geom|geo_?location)_",
    ),
    _guess("user.location.precise", r"", "", r"^(geometry|geography|point)\b"),
    _guess("user.location.imprecise", r"_(location|whereabouts)_$", _PERSON),
    # Who somebody is.
    _guess("user.name.first", r"_(first|given|fore|christian)_?name_|_vorname_"),
    _guess("user.name.last", r"_(last|family|sur)_?name_|_surname_|_nachname_"),
    _guess(
        "user.account.username", r"_(user_?name|login(_name)?|screen_name|user_?handle|handle)_$"
    ),
    _guess(
        "user.name",
        r"_((full|display|real|legal|middle|maiden|nick|preferred|birth|contact"
        r"|person|customer|recipient|card_?holder|holder|author)_?name)_",
    ),
    _guess("user.name", r"^_name_$", _PERSON),
    _guess(
        "user.demographic.date_of_birth",
        r"_(dob|d_o_b|(date|year|month|day)_of_birth|birth_?(date|day|year"
        r"|month)?|geburtsdatum)_",
    ),
    _guess("user.demographic.gender", r"_(gender|sex|pronouns?|salutation)_"),
    _guess("user.demographic.marital_status", r"_(marital|civil)_status_"),
    _guess("user.demographic.race_ethnicity", r"_(race|ethnic\w*)_"),
    _guess("user.demographic.religious_belief", r"_(religio\w*|faith|denomination)_"),
    _guess("user.demographic.sexual_orientation", r"_(sexual_orientation|orientation)_", _PERSON),
    _guess("user.demographic.political_opinion", r"_(political_\w+|party_membership)_"),
    _guess("user.demographic", r"_(nationality|citizenship)_"),
    _guess("user.demographic.language", r"_(language|locale|lang|preferred_language)_$", _PERSON),
    _guess("user.social.telegram", r"_telegram_"),
    _guess(
        "user.social",
        r"_(social_\w+|(facebook|instagram|linked_?in|twitter|tiktok|discord"
        r"|snapchat)_(id|handle|url|profile|name))_",
    ),
    _guess(
        "user.demographic.profile",
        r"_(bio|biography|about_me|about|interests?|hobbies|self_description)_$",
        _PERSON,
    ),
    _guess("user.demographic.profile", r"_profile_(data_|json_|text_)?$", _PERSON),
    _guess("user.account.settings", r"_(settings|preferences|prefs)_$", _PERSON),
    _guess("user.job_title", r"_(job_?title|occupation|profession)_"),
    _guess("user.workplace", r"_(employer|workplace|company(_name)?)_$", _PERSON),
    _guess("user.criminal_history", r"_(criminal\w*|conviction)_"),
    # Health.
    _guess("user.health_and_medical.record_id", r"_(mrn|medical_record_(id|no|number))_"),
    _guess(
        "user.health_and_medical.insurance_beneficiary_id", r"_(health_)?insurance_(id|no|number)_"
    ),
    _guess("user.health_and_medical.genetic", r"_(dna|genom\w*|genetic\w*|genotype)_"),
    _guess(
        "user.health_and_medical",
        r"_(diagnos\w+|icd\d*|symptoms?|medications?|prescriptions?|allerg\w+"
        r"|blood_(type|group|pressure)|disease|disability|medical_\w+|pregnan\w+)_",
    ),
    # Devices and what is done with them.
    _guess("user.device.cookie_id", r"_cookie_(id|uuid)_"),
    _guess("user.device.cookie", r"_cookies?_"),
    _guess("user.device", r"_(user_agent|ua|browser|device_(model|name|os|info))_$"),
    _guess("user.behavior.search_history", r"_search_(query|term|text|phrase)s?_"),
    _guess(
        "user.behavior.activity_log",
        r"_(action|activity|operation)_$",
        r"_(activity|audit)_(log|trail)s?_",
    ),
    _guess("user.behavior.browsing_history", r"_(referr?er|referring_url)_"),
    # What somebody wrote, said or sent.
    _guess("user.content.prompt", r"_prompts?_(text_)?$"),
    _guess("user.content.generated_image", r"_(generated|rendered)_(image|picture)s?_"),
    _guess(
        "user.content.generated_image",
        r"_(image|picture)(_url|_path)?_$",
        r"_(generations?|renders?|renderings?)_",
    ),
    _guess(
        "user.content.result_image", r"_(result|output|processed|edited)_(image|picture|photo)s?_"
    ),
    _guess(
        "user.content.source_image", r"_(source|original|input|uploaded)_(image|picture|photo)s?_"
    ),
    _guess("user.content.source_image", r"_(image|picture|photo|file)_$", r"_uploads?_"),
    _guess("user.content.result_image", r"_result_$", r"_(uploads?|images?|pictures?)_"),
    _guess(
        "user.content.self_image",
        r"_(avatar|selfie|self_image|portrait|head_?shot|profile_(photo|picture"
        r"|image)|photos?)(_url|_path|_key)?_$",
    ),
    _guess(
        "user.content.attachment",
        r"_(attachments?|file_?name|content|file|blob)_$",
        r"_(attachments?|files?|documents?)_",
    ),
    _guess("user.content.support_request", _BODY, _HELP + r"(?!mails?_)"),
    _guess("user.contact.correspondence", _BODY, _MAILS),
    _guess("user.content.chat_message", _BODY, _TALK),
    _guess(
        "user.content.chat_message",
        r"_(chat|message|last_message|direct_message)_(text|body|content)_",
    ),
    _guess(
        "user.content.video_call",
        r"_(recording|transcript|video|audio|seconds|duration)_(url_)?$",
        r"_(calls?|meetings?|video_\w+)_",
    ),
    _guess("user.content.public", _BODY, r"_(comments?|reviews?|posts?|ratings?)_"),
    _guess("user.content.private", r"_notes?_$", _PERSON),
    _guess(
        "user.behavior.usage",
        r"_(name|event|event_name|page|path|url|screen|action|feature|seconds"
        r"|duration|properties|target)_$",
        _TRACK,
    ),
    _guess("user.telemetry", r"_(telemetry|crash_\w+)_"),
    _guess("user.telemetry", r"_(quality|score|latency|feature)_$", r"_(metrics?|telemetry)_"),
    # Payments.
    _guess("user.payment.transaction", r"_(stripe|paypal|braintree|adyen|klarna)_"),
    _guess(
        "user.payment.transaction",
        r"_(amount|reference|provider_reference|transaction(_id|_ref)?|charge(_id)?"
        r"|paid_at|invoice_(no|number))_$",
        _PAY,
    ),
    # Vectors of anything, and what a type alone gives away.
    _guess("user.device.ip_address", r"", "", r"^(inet|cidr|ipv[46])\b"),
    _guess("user.content", r"_(embeddings?)_"),
    _guess("user.content", r"", "", r"\b(vector|halfvec|sparsevec)\b"),
)

ANSWERS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    (
        "opt_out",
        re.compile(
            r"_(opt_?(ed_)?outs?|unsubscribed?|do_not_(sell|share|track"
            r"|contact)|objection|objected|(analytics|tracking|ads)_disabled)_"
        ),
    ),
    (
        "consent",
        re.compile(
            r"_(consent\w*|opt_?(ed_)?ins?|subscribed|newsletter|agreed|gdpr"
            r"|(accepts?|accepted|allow|allows|allowed|receives?)_(marketing"
            r"|emails?|ads|tracking|analytics|location))_"
        ),
    ),
    ("restricted", re.compile(r"_(processing_)?restricted_")),
    ("legal_request", re.compile(r"_(legal_hold|legal_request)_")),
    ("age", re.compile(r"^_age_$")),
    ("region", re.compile(r"^_(country|country_code|region|jurisdiction)_$")),
)
"""Facts about a person, which a column may hold instead of data."""
