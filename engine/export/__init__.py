"""The student as files that stock diffusers opens and samples exactly as we do."""

from engine.export.certify import CertifyError, certify
from engine.export.student import FORMATS, MANIFEST, check_exportable, export_student

__all__ = [
    "FORMATS",
    "MANIFEST",
    "CertifyError",
    "certify",
    "check_exportable",
    "export_student",
]
