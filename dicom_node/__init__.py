"""A DICOM node beside the service: takes films from modalities and PACS, has them screened, sends the results on.

    python -m dicom_node

objects.py      which DICOM objects are taken
storage.py      the durable queue, a folder with a database (records.py) and the films (files.py)
scp.py          films in by C-STORE
stow.py         films in by STOW-RS
service.py      the client of the screening service
results.py      what the two results share; report.py makes the SR, heatmap.py the Secondary Capture
destinations.py results out, by C-STORE or STOW-RS
workers.py      the threads that screen and deliver, again and again until it succeeds or cannot
queue.py        the operator's command
"""

import pydicom.config

# Makers break the standard, and pydicom's warnings of that repeat the values.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
