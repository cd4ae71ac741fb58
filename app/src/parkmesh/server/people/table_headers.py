"""The names of columns and codes in English and Spanish, as exports write them and imports understand them.

An import takes a name in any letters, with or without accents, spaces and dashes.
"""

import unicodedata
from typing import Literal

Language = Literal["en", "es"]
DEFAULT: Language = "en"
"""The English names are those of the API, for programs."""

_SPANISH: dict[str, str] = {
    "accessible": "accesible",
    "action": "acción",
    "active": "activo",
    "actor": "autor",
    "cancel_reason": "motivo de cancelación",
    "cancelled_at": "cancelado el",
    "category": "tipo",
    "closed_by": "fin por",
    "created_at": "creado el",
    "decision": "decisión",
    "detail": "detalles",
    "direction": "sentido",
    "email": "correo electrónico",
    "entered_at": "entrada",
    "ev": "cargador",
    "from": "desde",
    "gate": "puerta",
    "gateway": "pasarela",
    "h": "fondo",
    "hash": "hash",
    "id": "número",
    "label": "descripción",
    "left_at": "salida",
    "level": "planta",
    "lots": "coches a la vez",
    "name": "nombre",
    "object": "objeto",
    "opened": "abierta",
    "people": "personas",
    "plate": "matrícula",
    "plate_limit": "máximo de matrículas",
    "plates": "matrículas",
    "reason": "motivo",
    "received_at": "recibido el",
    "role": "permiso",
    "rotation": "giro",
    "seq": "orden",
    "since": "en este estado desde",
    "space": "plaza",
    "status": "estado",
    "time": "cuándo",
    "unit": "vivienda",
    "until": "hasta",
    "valid_from": "válida desde",
    "valid_until": "válida hasta",
    "visitor": "visita",
    "w": "ancho",
    "who": "quién",
}
_ALSO = {
    "email": ("mail", "correo"),
    "ev": ("charger", "punto de recarga"),
    "h": ("height", "depth", "largo"),
    "level": ("nivel",),
    "lots": ("plazas",),
    "plate": ("license plate", "licence plate"),
    "rotation": ("rotación", "girada"),
    "unit": ("unidad", "piso"),
    "valid_from": ("válido desde",),
    "valid_until": ("válido hasta",),
    "w": ("width",),
    "x": ("from the left", "desde la izquierda"),
    "y": ("from the top", "desde arriba"),
}

_WORDS = {
    "active": "activo",
    "administrator": "administrador",
    "ambiguous": "ambigua",
    "anti_passback": "ya dentro",
    "assigned": "asignada",
    "cancelled": "cancelado",
    "clock_doubted": "hora de la pasarela equivocada",
    "code_used": "código ya usado",
    "codes_locked": "demasiados PIN erróneos",
    "command": "abierta a mano",
    "correction": "corrección",
    "denied": "denegado",
    "entry": "entrada",
    "exact": "matrícula conocida",
    "exit": "salida",
    "exit_is_free": "salida libre",
    "expired": "caducada",
    "free": "libre",
    "fuzzy": "matrícula conocida, leída con dudas",
    "granted": "permitido",
    "lots_full": "sin sitio para la vivienda",
    "missed_exit": "salida no vista",
    "no_plate": "sin matrícula leída",
    "not_yet_valid": "aún no válida",
    "occupied": "ocupada",
    "operator": "operador",
    "by_code": "código QR o PIN",
    "resident": "residente",
    "revoked": "revocado",
    "shared": "compartida",
    "stale": "lectura tardía",
    "timeout": "sin salida en 30 días",
    "unknown": "desconocido",
    "unknown_code": "código desconocido",
    "unknown_plate": "matrícula desconocida",
    "unsure": "lectura poco segura",
    "visitor": "visitas",
    "yes": "sí",
}
_WORDS_ALSO = {
    "active": ("activa",),
    "revoked": ("revocada",),
    "visitor": ("visita", "visitors"),
}


def shown(column: str, language: Language) -> str:
    """Return what a column is called in a language."""
    return _SPANISH.get(column, column) if language == "es" else column


def word(code: str, language: Language) -> str:
    """Return what a code is called in a language; one that has no name stays itself."""
    return _WORDS.get(code, code) if language == "es" else str(code)


def spellings(code: str) -> tuple[str, ...]:
    """Return all words for a code."""
    return (code, _WORDS.get(code, code), *_WORDS_ALSO.get(code, ()))


def plain(text: str) -> str:
    """Return a name's small letters and digits without accents."""
    return "".join(char for char in unicodedata.normalize("NFKD", text).casefold() if char.isalnum())


def understood(header: str, columns: list[str]) -> str | None:
    """Return which of some columns a header names, None where it names none of them."""
    wanted = plain(header)
    for column in columns:
        names = (column, _SPANISH.get(column, column), *_ALSO.get(column, ()))
        if wanted and wanted in map(plain, names):
            return column
    return None
