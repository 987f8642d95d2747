"""The frame of every HTML page: one file that needs nothing else."""

#: Fields: title, head and body of the table (rows as HTML), notes (list items).
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; }}
table {{ border-collapse: collapse; }}
h1 {{ font-size: 1.2rem; }}
td {{ white-space: nowrap; }}
th, td {{ padding: .2rem .6rem; text-align: right; font-variant-numeric: tabular-nums; }}
th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left; }}
thead th {{ border-bottom: 2px solid #222; }}
tr.bound td {{ color: #777; }}
tr.first td {{ border-top: 1px solid #aaa; }}
</style></head><body><h1>{title}</h1>
<table><thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table>
<ul>{notes}</ul></body></html>
"""
