"""With which words do mail programs introduce what is not the writer's own?

Only words and the shapes they stand in; `text` decides what follows from them. Every pattern is
applied to lines of at most 500 characters (four of them for an attribution) and has no nested
repetition.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "LIBRARY_LANGUAGES",
    "is_attribution",
    "is_forward_marker",
    "is_forward_subject",
    "is_from_label",
    "is_header_label",
    "is_original_marker",
    "is_rule",
    "is_sent_from",
    "may_end_attribution",
    "opens_attribution",
]

LIBRARY_LANGUAGES: Final = (
    *("en", "cs", "da", "de", "es", "fr", "he", "it", "ja", "ko", "nl", "pl", "sv", "zh"),
)


def _any(words: str) -> str:
    return "|".join(re.escape(w.strip()) for w in words.split("|"))


_WROTE = _any(
    "wrote|writes|schrieb|schrieben|a écrit|écrit|escribió|escribio|escreveu|ha scritto|scrisse"
    "|schreef|skrev|skreiv|kirjoitti|napisał|napisała|napisał(a)|pisze|napsal|napsala|napsal(a)"
    "|napísal|napísal(a)|написал|написала|написал(а)|написав|пише|писал|пишет|írta|ezt írta"
    "|a scris|yazdı|şunu yazdı|έγραψε|написа|je napisao|je napisala|je napisao/la|napisao je"
    "|rašė|rakstīja|kirjutas|va escriure|đã viết|menulis|写道|寫道|写信给|のメール|書きました"
    "|さんは書きました|作成|작성|님이 작성|כתב|כתבה|‫כתב|كتب|ने लिखा|เขียนว่า|wrote the following"
)
_VERB = re.compile(rf"(?:^|[\s,;>\"”'）)日年月分,，])(?:{_WROTE})(?:[\s:：,.]|$)", re.IGNORECASE)

_OPENER = re.compile(
    r"""(?: (?:on|at|am|le|el|em|il|op|den|dne|dnia|w\ dniu|dňa|på|pe|în|kl|ven|mer|lun|mar|jeu
            |sam|dim|le\ (?:lun|mar|mer|jeu|ven|sam|dim)|vào|pada|στις|в|у|на|dana|na|kuup)\b[\s.,:]
          | (?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}[.\s]\s?[^\W\d]{3,12}[.,]?\s\d{4})
          | 在\s?\d|於\s?\d|20\d\d\s?年|20\d\d-\d\d-\d\d )""",
    re.IGNORECASE | re.VERBOSE,
)
_ADDRESS = re.compile(r"[<(\[\"'\s:]?[^\s<>@]{1,80}@[^\s<>@]{1,200}")
_CLOCK = re.compile(r"\b\d{1,2}\s?[:.h]\s?\d{2}\b")
_FULL_DATE = re.compile(r"\b\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{1,4}\b")
_YEAR = re.compile(r"(?:19|20)\d\d")
_DAY = re.compile(r"(?<!\d)\d{1,2}(?!\d)")
_ENDS = re.compile(r"[:：]\s{0,3}$|-{2,}\s{0,3}$|>\s{0,3}$|\b(?:GMT|UTC)\s?[+-]\d")
_COLON_END = re.compile(r"[:：]\s{0,3}$")
_OLD_GMAIL = re.compile(r"\d{4}-\d{2}-\d{2} \d{1,2}:\d{2} (?:GMT|UTC)[+-]\d{1,2}:?\d{2}\s+\S")


def may_end_attribution(line: str) -> bool:
    """A cheap look at a line's end before the lines above it are joined to it."""
    return _ENDS.search(line) is not None


def opens_attribution(text: str) -> bool:
    """The text begins as an attribution begins: with a preposition of time or a date."""
    return _OPENER.match(text.lstrip("-> ")) is not None


def is_attribution(text: str, *, quote_follows: bool) -> bool:
    """Say whether `text` (joined lines) tells who wrote when: `On Monday, 3 May 2027, A wrote:`.

    A verb of writing and a colon are not enough ("In 2019 I wrote:"), unless a quote follows: an
    address, a clock time or a full date must stand there too. No verb is needed where a date, a
    clock time and an address stand before a colon.
    """
    text = text.strip()
    if len(text) > 1_000:
        return False
    if _OLD_GMAIL.match(text) and text.count("<") == text.count(">"):
        return True
    bare = text.strip("- ")
    dashed = bare != text and text.startswith("--") and text.endswith("--")
    if not dashed and not _COLON_END.search(text):
        return False
    clock = _CLOCK.search(text) is not None
    address = _ADDRESS.search(text) is not None
    if _VERB.search(bare):
        has_day = _YEAR.search(text) is not None and _DAY.search(text) is not None
        dated = clock or _FULL_DATE.search(text) is not None or has_day
        return address or dated or quote_follows
    return clock and address and opens_attribution(text)


_FORWARDED = _any(
    "forwarded message|forwarded by|forwarded mail|begin forwarded message"
    "|weitergeleitete nachricht|weitergeleitet von|ursprünglich weitergeleitet"
    "|anfang der weitergeleiteten nachricht"
    "|anfang der weitergeleiteten e-mail|message transféré|début du message transféré"
    "|début du message réexpédié|message transmis|mensaje reenviado|inicio del mensaje reenviado"
    "|mensagem encaminhada|mensagem reencaminhada|início da mensagem encaminhada"
    "|início da mensagem reencaminhada|messaggio inoltrato|inizio messaggio inoltrato"
    "|doorgestuurd bericht|begin doorgestuurd bericht|vidarebefordrat meddelande"
    "|vidarebefordrat brev|videresendt meddelelse|videresendt melding|välitetty viesti"
    "|edelleen lähetetty viesti"
    "|wiadomość przekazana|przekazana wiadomość|treść przekazanej wiadomości|přeposlaná zpráva"
    "|preposlaná správa|továbbított üzenet|mesaj redirecționat|mesajul redirecționat|iletilen mesaj"
    "|yönlendirilen ileti|пересылаемое сообщение|переслане повідомлення|пересланное сообщение"
    "|начало переадресованного сообщения|転送メッセージ|転送されたメッセージ|转发的邮件|轉寄的郵件"
    "|转发邮件信息|已转发邮件|전달된 메시지|הודעה מועברת|رسالة مُعاد توجيهها"
)
_FORWARD_MARKER = re.compile(rf"[-=_\s>]{{0,40}}(?:{_FORWARDED})[^\n]{{0,120}}", re.IGNORECASE)
_RULED = re.compile(r"[-=_]{2,}.*|.*[-=_]{2,}|.*:", re.DOTALL)


def is_forward_marker(line: str) -> bool:
    """`---------- Forwarded message ---------`, `Begin forwarded message:`: words in a frame."""
    return _FORWARD_MARKER.fullmatch(line) is not None and _RULED.fullmatch(line) is not None


_ORIGINAL = re.compile(
    r"[-_=\s]{2,40}(?:"
    + _any(
        "original message|original mail|original appointment|ursprüngliche nachricht"
        "|originalnachricht|original-nachricht|originalmeddelande|ursprungligt meddelande"
        "|message d'origine|message original|mensaje original|mensagem original"
        "|messaggio originale|messaggio originario|oorspronkelijk bericht|origineel bericht"
        "|oprindelig meddelelse|original meddelelse|opprinnelig melding|alkuperäinen viesti"
        "|wiadomość oryginalna|oryginalna wiadomość|původní zpráva|původní e-mail|pôvodná správa"
        "|eredeti üzenet|mesaj original|özgün ileti|orijinal mesaj|исходное сообщение"
        "|оригинальное сообщение|оригінальне повідомлення|αρχικό μήνυμα|元のメッセージ"
        "|原始邮件|原始郵件|邮件原件|原始信件|원본 메시지|הודעה מקורית|الرسالة الأصلية"
    )
    + r")[-_=\s]{0,40}",
    re.IGNORECASE,
)
_RULE = re.compile(r"\s{0,8}[*_]?[-_=]{5,200}[*_]?\s{0,8}")


def is_original_marker(line: str) -> bool:
    """`-----Original Message-----` and its translations."""
    return _ORIGINAL.fullmatch(line) is not None


def is_rule(line: str) -> bool:
    """A line of nothing but dashes or underscores, or an empty one, as it stands above a block."""
    return not line.strip() or _RULE.fullmatch(line) is not None


_FROM = _any(
    "from|von|de|da|van|från|fra|frå|lähettäjä|od|feladó|kimden|gönderen|от|від|από|expéditeur"
    "|remitente|mittente|nadawca|odesílatel|发件人|寄件者|寄件人|差出人|送信者"
    "|보낸 사람|보낸사람|מאת|من"
)
_OTHERS = _any(
    "sent|date|to|cc|bcc|subject|reply-to|reply to|importance|attachments|gesendet|datum|an|kopie"
    "|betreff|antwort an|envoyé|envoyé le|à|objet|copie|enviado|enviado el|enviada em|enviado em"
    "|para|asunto|assunto|fecha|data|inviato|a|oggetto|verzonden|aan|onderwerp|skickat|till|ämne"
    "|kopia|sendt|til|emne|lähetetty|vastaanottaja|aihe|kopio|päivämäärä|wysłano|do|dw|temat"
    "|odesláno|komu|předmět|odoslané|predmet|elküldve|címzett|tárgy|trimis|către|subiect|tarih"
    "|gönderildi|gönderme tarihi|kime|konu|отправлено|дата|кому|тема|копия|надіслано|копія"
    "|στάλθηκε|προς|θέμα|发送时间|发送日期|日期|收件人|抄送|主题|傳送日期|收件者|副本|主旨|送信日時"
    "|日時|宛先|件名|보낸 날짜|날짜|받는 사람|받는사람|참조|제목|נשלח|אל|נושא|تاريخ|إلى|الموضوع"
)
_LABEL = r"[\s*_>]{{0,8}}(?:{words})\s{{0,2}}[*_]{{0,2}}\s?[:：]\s{{0,4}}[*_]{{0,2}}"
_FROM_LABEL = re.compile(_LABEL.format(words=_FROM) + r"\s{0,8}\S", re.IGNORECASE)
_HEADER_LABEL = re.compile(_LABEL.format(words=_OTHERS), re.IGNORECASE)


def is_from_label(line: str) -> bool:
    """`From: …`, `*Von:* …`: the first line of a header block."""
    return _FROM_LABEL.match(line) is not None


def is_header_label(line: str) -> bool:
    """`Sent: …`, `Betreff: …`: a further line of a header block."""
    return _HEADER_LABEL.match(line) is not None


_FORWARD_SUBJECT = re.compile(
    r"\s{0,8}(?:\[[^\]]{0,80}\]\s{0,4})?(?:fwd?|wg|tr|rv|enc|i|vs|vb|doorst|pd|továbbítás|ilt|пересл|転送|转发|轉寄)"
    r"\s?[:：]",
    re.IGNORECASE,
)


def is_forward_subject(subject: str) -> bool:
    """`Fwd: …`, `WG: …`, `转发：…` as the outermost prefix."""
    return _FORWARD_SUBJECT.match(subject) is not None


_SENT_FROM = re.compile(
    r"\s{0,8}(?:"
    + _any(
        "sent from my|sent from mail for|sent from outlook|sent via|sent with|get outlook for"
        "|von meinem|gesendet von mein|gesendet mit|gesendet aus|envoyé de mon|envoyé depuis"
        "|envoyé à partir|obtenez outlook|holen sie sich outlook|enviado desde mi|enviado do meu"
        "|enviado a partir|obtener outlook|obter o outlook|inviato da|scarica outlook"
        "|verzonden vanaf|verstuurd vanaf|skickat från min|sendt fra min|lähetetty|wysłano z"
        "|wysłane z|odesláno z|odoslané z|отправлено с|надіслано з|iphoneから送信|发自我的|從我的"
        "|나의 iphone에서 보냄|נשלח מה"
    )
    + r")[^\n]{0,160}",
    re.IGNORECASE,
)


def is_sent_from(line: str) -> bool:
    """`Sent from my iPhone` and what other programs write below without being asked."""
    return _SENT_FROM.fullmatch(line) is not None
