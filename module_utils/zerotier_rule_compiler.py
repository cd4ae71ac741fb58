"""Compile ZeroTier's rule language into the JSON that controllers take.

The result equals that of ZeroTier's own rule-compiler for every source that means something. Where that compiler
silently produces something else than was written (a number with letters behind it, an address that isn't one, a mask
that loses a bit, a block that is never closed), this one refuses with the line and the column.

Standard library only.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

MAXIMUM_RULES: Final = 1024
MAXIMUM_CAPABILITY_RULES: Final = 64
MAXIMUM_CAPABILITIES: Final = 128
MAXIMUM_TAGS: Final = 128

CHARACTERISTIC_BITS: Final = {
    "inbound": 63,
    "multicast": 62,
    "broadcast": 61,
    "ipauth": 60,
    "macauth": 59,
    "tcp_fin": 0,
    "tcp_syn": 1,
    "tcp_rst": 2,
    "tcp_psh": 3,
    "tcp_ack": 4,
    "tcp_urg": 5,
    "tcp_ece": 6,
    "tcp_cwr": 7,
    "tcp_ns": 8,
    "tcp_rs2": 9,
    "tcp_rs1": 10,
    "tcp_rs0": 11,
}
ETHERTYPES: Final = {
    "ipv4": 0x0800,
    "arp": 0x0806,
    "wol": 0x0842,
    "rarp": 0x8035,
    "ipv6": 0x86DD,
    "atalk": 0x809B,
    "aarp": 0x80F3,
    "ipx_a": 0x8137,
    "ipx_b": 0x8138,
}
IP_PROTOCOLS: Final = {
    "icmp": 0x01,
    "icmp4": 0x01,
    "icmpv4": 0x01,
    "igmp": 0x02,
    "ipip": 0x04,
    "tcp": 0x06,
    "egp": 0x08,
    "igp": 0x09,
    "udp": 0x11,
    "rdp": 0x1B,
    "esp": 0x32,
    "ah": 0x33,
    "icmp6": 0x3A,
    "icmpv6": 0x3A,
    "l2tp": 0x73,
    "sctp": 0x84,
    "udplite": 0x88,
}

_BLOCK_KEYWORDS: Final = frozenset(
    ("macro", "tag", "cap", "drop", "accept", "tee", "watch", "redirect", "break", "priority")
)
_PLAIN_ACTIONS: Final = {"drop": "ACTION_DROP", "accept": "ACTION_ACCEPT", "break": "ACTION_BREAK"}
_COPY_ACTIONS: Final = {"tee": "ACTION_TEE", "watch": "ACTION_WATCH"}
_ADDRESS_MATCHES: Final = {"ztsrc": "MATCH_SOURCE_ZEROTIER_ADDRESS", "ztdest": "MATCH_DEST_ZEROTIER_ADDRESS"}
_MAC_MATCHES: Final = {"macsrc": "MATCH_MAC_SOURCE", "macdest": "MATCH_MAC_DEST"}
_IP_MATCHES: Final = {"ipsrc": "SOURCE", "ipdest": "DEST"}
# keyword: type, field, largest value, names
_NUMBER_MATCHES: Final[Mapping[str, tuple[str, str, int, Mapping[str, int]]]] = {
    "vlan": ("MATCH_VLAN_ID", "vlanId", 0xFFFF, {}),
    "vlanpcp": ("MATCH_VLAN_PCP", "vlanPcp", 0xFF, {}),
    "vlandei": ("MATCH_VLAN_DEI", "vlanDei", 0xFF, {}),
    "ethertype": ("MATCH_ETHERTYPE", "etherType", 0xFFFF, ETHERTYPES),
    "ipprotocol": ("MATCH_IP_PROTOCOL", "ipProtocol", 0xFF, IP_PROTOCOLS),
}
_RANGE_MATCHES: Final = {
    "sport": "MATCH_IP_SOURCE_PORT_RANGE",
    "dport": "MATCH_IP_DEST_PORT_RANGE",
    "framesize": "MATCH_FRAME_SIZE_RANGE",
}
_TAG_MATCHES: Final = {
    "tand": "MATCH_TAGS_BITWISE_AND",
    "tor": "MATCH_TAGS_BITWISE_OR",
    "txor": "MATCH_TAGS_BITWISE_XOR",
    "tdiff": "MATCH_TAGS_DIFFERENCE",
    "teq": "MATCH_TAGS_EQUAL",
    "tseq": "MATCH_TAG_SENDER",
    "treq": "MATCH_TAG_RECEIVER",
}
_ARGUMENTS: Final[Mapping[str, int]] = {
    **dict.fromkeys([*_ADDRESS_MATCHES, *_MAC_MATCHES, *_IP_MATCHES, *_NUMBER_MATCHES, *_RANGE_MATCHES], 1),
    **dict.fromkeys(["chr", "random"], 1),
    **dict.fromkeys(["iptos", "icmp", *_TAG_MATCHES], 2),
}
_RESERVED_WORDS: Final = frozenset(
    (
        *_BLOCK_KEYWORDS,
        *_ARGUMENTS,
        *("default", "type", "enum", "class", "define", "import", "include", "log"),
        *("not", "xor", "or", "and", "set", "var", "let"),
    )
)


class RuleCompileError(ValueError):
    """A source that doesn't compile; ``line`` and ``column`` count from 1 and are 0 where no place is to blame."""

    def __init__(self, line: int, column: int, message: str) -> None:
        self.line = line
        self.column = column
        self.message = message
        super().__init__(f"line {line}, column {column}: {message}" if line else message)


class _Token(NamedTuple):
    text: str
    line: int
    column: int

    def error(self, message: str) -> RuleCompileError:
        return RuleCompileError(self.line, self.column, message)


# A block holds tokens and, after each keyword that opens one, the block of what belongs to the keyword.
_Block = list[Any]


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """The compiled source: what a controller takes, the names that it doesn't keep, and where each rule came from.

    ``tags_by_name`` maps a name to ``{"id", "default", "enums", "flags"}``; ``rule_lines`` has the source line of each
    entry of ``rules``, ``capability_rule_lines`` the same for each capability.
    """

    rules: list[dict[str, Any]]
    capabilities: list[dict[str, Any]]
    tags: list[dict[str, Any]]
    capabilities_by_name: dict[str, int]
    tags_by_name: dict[str, dict[str, Any]]
    rule_lines: list[int] = field(default_factory=list)
    capability_rule_lines: list[list[int]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON document that ZeroTier's command-line compiler prints."""
        return {
            "config": {"rules": self.rules, "capabilities": self.capabilities, "tags": self.tags},
            "capabilitiesByName": self.capabilities_by_name,
            "tagsByName": self.tags_by_name,
        }


@dataclass(slots=True)
class _Macro:
    parameters: dict[str, int]
    body: _Block


@dataclass(slots=True)
class _Output:
    rules: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def add(self, rule: dict[str, Any], at: _Token) -> None:
        self.rules.append(rule)
        self.lines.append(at.line)


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", source), start=1):
        for word in re.finditer(r"[^ \t]+", line):
            if word.group().startswith("#"):
                break
            tokens.append(_Token(word.group(), number, word.start() + 1))
    return tokens


def _blocks(source: str) -> _Block:
    """Turn the source into nested blocks, the way that ZeroTier's compiler does.

    A block keyword opens a block, a semicolon closes the innermost one that holds something. So a bare ``accept;``
    leaves an open and empty block behind and is understood only where nothing follows in the same block.
    """
    stack: list[_Block] = [[]]
    opened: list[_Token] = []
    for token in _tokens(source):
        text = token.text
        ends = text.endswith(";")
        if ends:
            text = text[:-1]
            token = token._replace(text=text)
        if text:
            stack[-1].append(token)
        if ends and len(stack) > 1 and stack[-1]:
            block = stack.pop()
            opened.pop()
            stack[-1].append(block)
        elif text in _BLOCK_KEYWORDS:
            stack.append([])
            opened.append(token)
    if len(stack) > 2 and not stack[-1]:
        raise opened[-2].error(f"the block that '{opened[-2].text}' opens is never closed with a ';'")
    while len(stack) > 1 and stack[-1]:
        block = stack.pop()
        stack[-1].append(block)
    return stack[0]


def _is_name(text: str) -> bool:
    return (
        bool(text) and text[0] not in "0123456789" and all(c == "_" or c in "0123456789" or c.isalpha() for c in text)
    )


def _number(text: str) -> int | None:
    """A decimal or 0x number, with an optional sign; None when the text isn't one."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        return int(text[2:], 16)
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else None


def _number_within(token: _Token, largest: int, message: str) -> int:
    number = _number(token.text)
    if number is None or not 0 <= number <= largest:
        raise token.error(f"{message}: '{token.text}' is no number from 0 to {largest}")
    return number


def _range_within(token: _Token, largest: int, message: str) -> tuple[int, int]:
    first, dash, last = token.text.partition("-")
    start = _number(first)
    end = _number(last) if dash else start
    if start is None or end is None or not 0 <= start <= end <= largest:
        raise token.error(f"{message}: '{token.text}' is no number or first-last range from 0 to {largest}")
    return start, end


def _zerotier_address(token: _Token) -> str:
    digits = re.sub(r"[^0-9a-f]", "", token.text.lower())
    if len(digits) != 10:
        raise token.error(f"'{token.text}' is no ZeroTier address: it has 10 hexadecimal digits")
    return digits


def _target(token: _Token) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{10}", token.text):
        raise token.error(f"'{token.text}' is no ZeroTier address to send to: it has 10 hexadecimal digits")
    return token.text


def _mac_address(token: _Token) -> str:
    digits = re.sub(r"[^0-9a-f]", "", token.text.lower())
    if len(digits) != 12:
        raise token.error(f"'{token.text}' is no MAC address: it has 12 hexadecimal digits")
    return bytes.fromhex(digits).hex(":")


def _ip_version(token: _Token) -> int:
    text, slash, bits = token.text.partition("/")
    if not slash:
        raise token.error(f"'{token.text}' has no /bits behind the address")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise token.error(f"'{text}' is neither an IPv4 nor an IPv6 address") from None
    if not re.fullmatch(r"[0-9]{1,3}", bits) or int(bits) > address.max_prefixlen:
        raise token.error(f"'/{bits}' is no prefix length from /0 to /{address.max_prefixlen}")
    if "%" in text:
        raise token.error(f"'{text}' has a zone: a rule can't match one")
    if address.version == 6 and int(address) & ((1 << (128 - int(bits))) - 1):
        raise token.error(f"'{token.text}' has host bits set: nodes would never match it")
    return address.version


def _characteristics(token: _Token) -> str:
    bits: set[int] = set()
    for name in token.text.split(","):
        if not name:
            continue
        bit = CHARACTERISTIC_BITS.get(name)
        if bit is None:
            bit = _number(name)
        if bit is None or not 0 <= bit <= 63:
            raise token.error(f"'{name}' is no characteristic and no bit from 0 to 63")
        bits.add(bit)
    for top, half in ((31, range(31)), (63, range(32, 63))):
        if top in bits and bits.intersection(half):
            # ZeroTier's compiler negates the half here and so turns it into another mask.
            raise token.error(
                f"bit {top} ('inbound' is 63) can't be combined with others in one chr: write two matches with 'or'"
            )
    return f"{sum(1 << bit for bit in bits):016x}"


def _probability(token: _Token) -> int:
    try:
        share = float(token.text)
    except ValueError:
        share = math.nan
    if math.isnan(share):
        raise token.error(f"'{token.text}' is no probability from 0 to 1")
    return math.floor(4294967295 * min(max(share, 0.0), 1.0))


@dataclass(slots=True)
class _Compiler:
    """The definitions of one source, and how statements that use them become rules."""

    macros: dict[str, _Macro] = field(default_factory=dict)
    tags: dict[str, dict[str, Any]] = field(default_factory=dict)
    capabilities: dict[str, dict[str, Any]] = field(default_factory=dict)
    capability_blocks: dict[str, _Block] = field(default_factory=dict)

    # Definitions

    def define(self, document: _Block) -> _Block:
        """Take the definitions out of the document and return the statements that remain."""
        statements: _Block = []
        position = 0
        while position < len(document):
            entry = document[position]
            keyword = entry.text.lower() if isinstance(entry, _Token) else None
            if keyword in ("macro", "tag", "cap"):
                position += 1
                what = {"macro": "macro", "tag": "tag", "cap": "capability"}[keyword]
                block = document[position] if position < len(document) else None
                if not isinstance(block, list) or not block or not isinstance(block[0], _Token):
                    raise entry.error(f"the {what} has no name")
                if keyword == "macro":
                    self._define_macro(block)
                elif keyword == "tag":
                    self._define_tag(block)
                else:
                    self._define_capability(block)
            else:
                statements.append(entry)
            position += 1
        return statements

    def _name(self, token: _Token, name: str, what: str, known: Mapping[str, object]) -> str:
        if not _is_name(name):
            raise token.error(f"'{name}' is no valid {what} name")
        if name in _RESERVED_WORDS:
            raise token.error(f"the {what} name '{name}' is a reserved word")
        if name in known:
            raise token.error(f"the {what} '{name}' is defined twice")
        return name

    def _define_macro(self, block: _Block) -> None:
        head: _Token = block[0]
        name, parenthesis, rest = head.text.lower().partition("(")
        names = [parameter for parameter in re.split(r"[,)]+", rest) if parameter] if parenthesis else []
        self._name(head, name, "macro", self.macros)
        self.macros[name] = _Macro({parameter: index for index, parameter in enumerate(names)}, block[1:])

    def _define_tag(self, block: _Block) -> None:
        head: _Token = block[0]
        name = self._name(head, head.text.lower(), "tag", self.tags)
        words = _Words(block[1:], f"tag '{name}'")
        tag_id: int | None = None
        default: _Token | None = None
        flags: dict[str, int] = {}
        enums: dict[str, int] = {}
        while (word := words.next()) is not None:
            match word.text.lower():
                case "id":
                    if tag_id is not None:
                        raise word.error("the tag has two ids")
                    tag_id = _number_within(words.argument(word, "a number"), 0xFFFFFFFF, "invalid tag id")
                case "default":
                    if default is not None:
                        raise word.error("the tag has two defaults")
                    default = words.argument(word, "a value")
                case "flag":
                    mask = self._flag_mask(words.argument(word, "a bit"), flags)
                    self._value_name(words.argument(word, "a name"), "flag", flags, mask)
                case "enum":
                    value = _number_within(words.argument(word, "a value"), 0xFFFFFFFF, "invalid enum value")
                    self._value_name(words.argument(word, "a name"), "enum", enums, value)
                case other:
                    raise word.error(f"'{other}' means nothing in a tag: id, default, flag or enum does")
        if tag_id is None:
            raise head.error(f"the tag '{name}' has no id")
        self.tags[name] = {
            "id": tag_id,
            "default": None if default is None else self._default(default, enums, flags),
            "enums": enums,
            "flags": flags,
        }

    @staticmethod
    def _flag_mask(token: _Token, flags: Mapping[str, int]) -> int:
        mask = 0
        for bit in token.text.lower().split(","):
            if bit in flags:
                mask |= flags[bit]
            else:
                mask |= 1 << _number_within(token._replace(text=bit), 31, "invalid bit or unknown flag")
        return mask

    @staticmethod
    def _value_name(token: _Token, what: str, known: dict[str, int], value: int) -> None:
        name = token.text.lower()
        if not _is_name(name):
            raise token.error(f"'{name}' is no valid {what} name")
        if name in known:
            raise token.error(f"the {what} '{name}' is defined twice in this tag")
        known[name] = value

    @staticmethod
    def _default(token: _Token, enums: Mapping[str, int], flags: Mapping[str, int]) -> int:
        for known in (enums, flags):
            if token.text in known:
                return known[token.text]
        return _number_within(token, 0xFFFFFFFF, "the default is no enum, no flag of this tag")

    def _define_capability(self, block: _Block) -> None:
        head: _Token = block[0]
        name = self._name(head, head.text.lower(), "capability", self.capabilities)
        body: _Block = []
        capability_id: int | None = None
        default = False
        words = iter(block[1:])
        for entry in words:
            word = entry.text.lower() if isinstance(entry, _Token) else None
            if word == "id":
                if capability_id is not None:
                    raise entry.error("the capability has two ids")
                value = next(words, None)
                if not isinstance(value, _Token):
                    raise entry.error("'id' has no number behind it")
                capability_id = _number_within(value, 0xFFFFFFFF, "invalid capability id")
                if any(known["id"] == capability_id for known in self.capabilities.values()):
                    raise value.error(f"the capability id {capability_id} is used twice")
            elif word == "default":
                default = True
            else:
                body.append(entry)
        if capability_id is None:
            raise head.error(f"the capability '{name}' has no id")
        self.capabilities[name] = {"id": capability_id, "default": default, "rules": []}
        self.capability_blocks[name] = body

    # Statements

    def actions(
        self, block: _Block, output: _Output, parameters: Mapping[str, str], including: tuple[str, ...] = ()
    ) -> None:
        """Append the rules of all statements of a block."""
        position = 0
        while position < len(block):
            entry = block[position]
            if not isinstance(entry, _Token):
                position += 1
                continue
            action = entry.text.lower()
            if action == "include":
                position += 1
                self._include(entry, block[position] if position < len(block) else None, output, including)
                position += 1
                continue
            following = block[position + 1] if position + 1 < len(block) else None
            matches: _Block = []
            if isinstance(following, list) and following and isinstance(following[0], _Token):
                matches = following
                position += 1
            position += 1
            if action in _PLAIN_ACTIONS:
                self._matches(matches, output, parameters)
                output.add({"type": _PLAIN_ACTIONS[action]}, entry)
            elif action in _COPY_ACTIONS:
                if len(matches) < 2 or not isinstance(matches[1], _Token):
                    raise entry.error(f"'{action}' needs a length (0 or -1 for all) and a ZeroTier address")
                length = _number(matches[0].text)
                if length is None or not -1 <= length <= 0xFFFF:
                    raise matches[0].error(f"'{matches[0].text}' is no length from -1 to 65535")
                address = _target(matches[1])
                self._matches(matches[2:], output, parameters)
                output.add({"type": _COPY_ACTIONS[action], "address": address, "length": length}, entry)
            elif action == "redirect":
                if not matches:
                    raise entry.error("'redirect' needs a ZeroTier address")
                address = _target(matches[0])
                self._matches(matches[1:], output, parameters)
                output.add({"type": "ACTION_REDIRECT", "address": address}, entry)
            else:
                raise entry.error(f"'{action}' is no action and no directive")

    def _include(self, directive: _Token, target: object, output: _Output, including: tuple[str, ...]) -> None:
        if not isinstance(target, _Token):
            raise directive.error("'include' has no macro name behind it")
        name, parenthesis, rest = target.text.partition("(")
        arguments = [argument for argument in re.split(r"[,)]+", rest) if argument] if parenthesis else []
        macro = self.macros.get(name)
        if macro is None:
            raise target.error(f"the macro '{name}' isn't defined")
        if name in including:
            raise target.error(f"the macro '{name}' includes itself")
        missing = [parameter for parameter, index in macro.parameters.items() if index >= len(arguments)]
        if missing:
            raise target.error(f"the macro '{name}' lacks an argument for {', '.join(missing)}")
        values = {parameter: arguments[index] for parameter, index in macro.parameters.items()}
        self.actions(macro.body, output, values, (*including, name))

    def _matches(self, block: _Block, output: _Output, parameters: Mapping[str, str]) -> None:
        words = iter(block)
        negate = alternative = False
        word: _Token | None = None
        for entry in words:
            if not isinstance(entry, _Token):
                continue
            word = entry
            name = word.text.lower()
            if name == "and":
                continue
            if name == "not":
                negate = True
                continue
            if name == "or":
                alternative = True
                continue
            count = _ARGUMENTS.get(name)
            if count is None:
                hint = " (a bare action with ';' must be the last one)" if name in _BLOCK_KEYWORDS else ""
                raise word.error(f"'{name}' is no match{hint}")
            arguments = []
            for _ in range(count):
                argument = next(words, None)
                if not isinstance(argument, _Token) or argument.text in _RESERVED_WORDS:
                    raise word.error(f"'{name}' needs {count} argument{'s' if count > 1 else ''}")
                if argument.text.startswith("$"):
                    if argument.text not in parameters:
                        raise argument.error(f"the variable '{argument.text}' isn't a parameter of this macro")
                    argument = argument._replace(text=parameters[argument.text])
                arguments.append(argument)
            kind, fields = self._match(name, arguments)
            output.add({"type": kind, "not": negate, "or": alternative, **fields}, word)
            negate = alternative = False
        if word is not None and (negate or alternative):
            raise word.error(f"'{word.text}' has no match behind it")

    def _match(self, name: str, arguments: list[_Token]) -> tuple[str, dict[str, Any]]:
        first = arguments[0]
        if name in _ADDRESS_MATCHES:
            return _ADDRESS_MATCHES[name], {"zt": _zerotier_address(first)}
        if name in _MAC_MATCHES:
            return _MAC_MATCHES[name], {"mac": _mac_address(first)}
        if name in _IP_MATCHES:
            return f"MATCH_IPV{_ip_version(first)}_{_IP_MATCHES[name]}", {"ip": first.text}
        if name in _NUMBER_MATCHES:
            kind, key, largest, names = _NUMBER_MATCHES[name]
            number = names.get(first.text)
            return kind, {key: _number_within(first, largest, f"invalid {name}") if number is None else number}
        if name in _RANGE_MATCHES:
            start, end = _range_within(first, 0xFFFF, f"invalid {name}")
            return _RANGE_MATCHES[name], {"start": start, "end": end}
        if name in _TAG_MATCHES:
            tag_id, value = self._tag_value(name, first, arguments[1])
            return _TAG_MATCHES[name], {"id": tag_id, "value": value}
        if name == "iptos":
            mask = _number_within(first, 0xFF, "invalid mask of iptos")
            start, end = _range_within(arguments[1], 0xFF, "invalid iptos")
            return "MATCH_IP_TOS", {"mask": mask, "start": start, "end": end}
        if name == "icmp":
            icmp_type = _number_within(first, 0xFF, "invalid ICMP type")
            code = _number(arguments[1].text)
            if code is None or not -1 <= code <= 0xFF:
                raise arguments[1].error(f"'{arguments[1].text}' is no ICMP code from 0 to 255, or -1 for any")
            return "MATCH_ICMP", {"icmpType": icmp_type, "icmpCode": None if code < 0 else code}
        if name == "chr":
            return "MATCH_CHARACTERISTICS", {"mask": _characteristics(first)}
        return "MATCH_RANDOM", {"probability": _probability(first)}

    def _tag_value(self, name: str, tag: _Token, value: _Token) -> tuple[int, int]:
        definition = self.tags.get(tag.text)
        if definition is None:
            tag_id = _number(tag.text)
            if tag_id is None or not 0 <= tag_id <= 0xFFFFFFFF:
                raise tag.error(f"the tag '{tag.text}' isn't defined")
            return tag_id, _number_within(value, 0xFFFFFFFF, f"invalid value of {name}")
        for names in (definition["flags"], definition["enums"]):
            if value.text in names:
                return definition["id"], names[value.text]
        return definition["id"], _number_within(
            value, 0xFFFFFFFF, f"the tag '{tag.text}' has no flag and no enum of this name"
        )


class _Words:
    """The words of a definition one after the other, with an error in the right place when one is missing."""

    def __init__(self, block: _Block, where: str) -> None:
        self._words = iter(block)
        self._where = where

    def next(self) -> _Token | None:
        word = next(self._words, None)
        if isinstance(word, list):
            raise RuleCompileError(
                word[0].line if isinstance(word[0], _Token) else 0,
                word[0].column if isinstance(word[0], _Token) else 0,
                f"a block means nothing in the definition of {self._where}: is a ';' missing before it?",
            )
        return word

    def argument(self, keyword: _Token, what: str) -> _Token:
        word = self.next()
        if word is None:
            raise keyword.error(f"'{keyword.text}' has not {what} behind it")
        return word


def _outside_tag(name: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition from outside in the compiler's form; its names are lower-case as the language's are."""
    if not _is_name(name) or name != name.lower() or name in _RESERVED_WORDS:
        raise RuleCompileError(0, 0, f"'{name}' is no valid tag name")
    numbers = {"id": definition.get("id")}
    for kind in ("enums", "flags"):
        numbers.update(definition.get(kind) or {})
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 0xFFFFFFFF:
            raise RuleCompileError(0, 0, f"tag '{name}': {key} is {number!r}, not a number from 0 to 4294967295")
    default = definition.get("default")
    if default is not None and (isinstance(default, bool) or not isinstance(default, int)):
        raise RuleCompileError(0, 0, f"tag '{name}': the default is {default!r}, not a number")
    return {
        "id": definition["id"],
        "default": default,
        "enums": dict(definition.get("enums") or {}),
        "flags": dict(definition.get("flags") or {}),
    }


def compile_rules(source: str, tags: Mapping[str, Mapping[str, Any]] | None = None) -> CompiledRules:
    """Compile a whole source.

    ``tags`` are definitions from outside, as in ``tags_by_name``, that the source may use beside its own.

    Raises RuleCompileError with the place of the first mistake, and when the result is larger than nodes take: they
    would silently cut it.
    """
    if not isinstance(source, str):
        raise RuleCompileError(0, 0, f"the source is a string, not a {type(source).__name__}")
    compiler = _Compiler(tags={name: _outside_tag(name, definition) for name, definition in (tags or {}).items()})
    statements = compiler.define(_blocks(source))
    capability_lines = []
    for name, capability in compiler.capabilities.items():
        output = _Output()
        compiler.actions(compiler.capability_blocks[name], output, {})
        if len(output.rules) > MAXIMUM_CAPABILITY_RULES:
            raise RuleCompileError(
                0,
                0,
                f"the capability '{name}' has {len(output.rules)} rules, nodes take {MAXIMUM_CAPABILITY_RULES}",
            )
        capability["rules"] = output.rules
        capability_lines.append(output.lines)
    base = _Output()
    compiler.actions(statements, base, {})
    for count, largest, what in (
        (len(base.rules), MAXIMUM_RULES, "rules"),
        (len(compiler.capabilities), MAXIMUM_CAPABILITIES, "capabilities"),
        (len(compiler.tags), MAXIMUM_TAGS, "tags"),
    ):
        if count > largest:
            raise RuleCompileError(0, 0, f"the source has {count} {what}, nodes take {largest}")
    return CompiledRules(
        rules=base.rules,
        capabilities=list(compiler.capabilities.values()),
        tags=[{"id": tag["id"], "default": tag["default"]} for tag in compiler.tags.values()],
        capabilities_by_name={name: capability["id"] for name, capability in compiler.capabilities.items()},
        tags_by_name=compiler.tags,
        rule_lines=base.lines,
        capability_rule_lines=capability_lines,
    )
