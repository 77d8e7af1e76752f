"""Documents as people have them, to be translated: lines, tables, web pages, catalogues.

`document.py` has the two phases; the formats are in `forms.py`. No torch: a translator is whatever
answers the segments.
"""

from evokd.data.documents.document import Document, Lost, Written, read_document
from evokd.data.documents.forms import ENDINGS, FORMS

__all__ = ["ENDINGS", "FORMS", "Document", "Lost", "Written", "read_document"]
