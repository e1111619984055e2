"""The fault matrix: what can go wrong between a store and a batch, and what aioloader does then."""

from __future__ import annotations

from dataclasses import dataclass, field

STORES = ("http", "s3", "gcs", "azure", "local")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault. ``cannot`` says of a store why the row does not hold there, or is none."""

    fault: str
    does: str
    cannot: dict[str, str] = field(default_factory=dict)


def _no_network(why: str = "no network") -> dict[str, str]:
    return {"local": why}


_UNTOLD = "obstore does not tell it from a stall: TransferStalledError, six times"
_BY_OBSTORE = "the transfer is obstore's: a limit between bytes, no floor"

ROWS: dict[int, Row] = {
    1: Row(
        fault="connection refused",
        does="asks again for 120 s; twice only where nobody ever answered; then ConnectFailedError names host and port",
        cannot=_no_network(),
    ),
    2: Row(
        fault="name look-up fails",
        does="looks up again for each new connection; twice only where nobody ever answered; ConnectFailedError",
        cannot=_no_network(),
    ),
    3: Row(
        fault="TLS: wrong name, expired, unknown authority",
        does="TLSRejectedError at once, never asked again, never skipped; a handshake that breaks off is asked again",
        cannot=_no_network(),
    ),
    4: Row(
        fault="connection never comes about",
        does="given up after connect_timeout_s (5 s), asked again; ConnectFailedError",
        cannot=_no_network() | {"gcs": _UNTOLD, "azure": _UNTOLD},
    ),
    5: Row(
        fault="stall: no byte more, or none at all",
        does="given up after idle_timeout_s (10 s); the rest is asked for by range and ETag",
        cannot=_no_network(),
    ),
    6: Row(
        fault="trickle: a byte a second, in header or body",
        does="given up where less than 4 KiB/s came for 15 s; asked again",
        cannot=_no_network() | {"gcs": _BY_OBSTORE, "azure": _BY_OBSTORE},
    ),
    7: Row(
        fault="reset in mid-body, at any byte",
        does="the rest is asked for by range, of the same object by its ETag",
        cannot=_no_network(),
    ),
    8: Row(
        fault="body shorter than announced",
        does="as a reset; for ever: TruncatedBodyError with both lengths",
        cannot=_no_network("a file that shrinks under a read is row 15"),
    ),
    9: Row(
        fault="more bytes than announced, two lengths",
        does="the connection is dropped, no byte of it is anybody's answer; two lengths are no answer and asked again",
        cannot=_no_network(),
    ),
    10: Row(
        fault="chunks without an end, no length at all",
        does="missing chunks are asked again; neither length nor chunks: TruncatedBodyError, as an end is no cut",
        cannot=_no_network(),
    ),
    11: Row(
        fault="500, 502, 503, 504, 408, 429",
        does="asked again with full jitter; 429 and 503 set the pace of all requests, Retry-After is waited for",
        cannot=_no_network(),
    ),
    12: Row(
        fault="401, 403, ExpiredToken in mid-epoch",
        does="credentials are renewed once for all requests and the request is made again; then "
        "AccessDeniedError, never skipped",
        cannot=_no_network(),
    ),
    13: Row(
        fault="clock skew",
        does="detected by the store's own code word and named, not corrected; no time limit uses the wall clock",
        cannot=_no_network("no signatures"),
    ),
    14: Row(
        fault="404, deleted in mid-epoch",
        does='ObjectNotFoundError, not asked again; on_error="skip" puts a good sample in its place and counts it',
    ),
    15: Row(
        fault="replaced in mid-epoch",
        does="asked for by the listing's ETag, where it told one: ObjectChangedError. Bytes of two versions are "
        "never mixed: If-Match holds a resume to its object, else ObjectChangedError; "
        "without a strong ETag the object is asked for anew",
    ),
    16: Row(
        fault="wrong, short, wider, multipart or ignored range, 416",
        does="checked against what was asked for; a resume begins anew, a sample's own range: RangeNotHonouredError",
        cannot={"local": "no ranges but our own"},
    ),
    17: Row(
        fault="redirects: in a circle, to strangers",
        does="5 at most; no header of the user's to another origin, no https to http, no signed request elsewhere",
        cannot=_no_network("no redirects"),
    ),
    18: Row(
        fault="gzip bomb",
        does="asks for identity, unpacks nothing: RequestRefusedError",
        cannot=_no_network("nothing is unpacked"),
    ),
    19: Row(
        fault="huge or endless body",
        does="BodyTooLargeError by the announced length, and while reading, at max_object_bytes",
        cannot={"local": "files have no such limit"},
    ),
    27: Row(fault="disk full while caching", does="caching ends, training goes on from the network"),
    28: Row(fault="cache damaged or cut by a crash", does="checked on every read, fetched anew, never trusted"),
    29: Row(fault="processes share a cache", does="first rename wins, both are equal by content"),
    30: Row(
        fault="consumer leaves: break, exception, close, Ctrl-C, collected",
        does="requests end within a second; no task, thread, socket or process is left; the next epoch is whole",
    ),
    31: Row(fault="fork in mid-epoch", does="the child gets LoaderClosedError, the parent's epoch is whole"),
    32: Row(
        fault="loop or GIL blocked by the user's code",
        does="what lies in the socket is read before a time limit is judged: no request is repeated",
    ),
    33: Row(
        fault="loops closed, nested, one after another",
        does="fetching has a loop of its own; any loop, or none, may wait for it",
    ),
    34: Row(
        fault="little memory",
        does="bodies reserve their bytes first; one sample that is larger passes alone; slower, never wrong",
    ),
    35: Row(
        fault="queues full behind one slow sample",
        does="the oldest sample always holds a request and its bytes: nothing can lock",
    ),
    36: Row(
        fault="odd keys: escapes, umlauts, spaces, slashes",
        does="exactly that key's object, or an error that names it where the store cannot carry it",
    ),
    38: Row(
        fault="duplicate keys",
        does="a listing or table that names the same bytes twice is refused; ids are positions, each comes once",
    ),
}
