"""The rows of bench/kernels as tables that fit a page. Imported by suite.py."""
from benchlib import Table

FEW_TOKENS = (2, 4, 8, 12, 16, 64, 512)


def middle(row, key):
    return row[key][1] if key in row else None


def percent(share):
    return f'{100 * share:.0f} %' if share else '-'


def is_product(row):
    return row['path'] in ('one', 'many') and not row['kernel'].startswith('attend')


def groups(rows, wanted):
    """{(kernel, level, threads, columns): rows}, in order."""
    found = {}
    for row in rows:
        if row['kernel'] != 'ceilings' and wanted(row):
            key = (row['kernel'], row['level'], row['n_threads'], row['n_cols'])
            found.setdefault(key, []).append(row)
    return found


def cell(row, best_first):
    """"112 (83 %)": GMAC/s and its share of a ceiling."""
    if not row:
        return '-'
    share = next((row[key] for key in best_first if row.get(key)), None)
    return f'{middle(row, "gmac_per_s"):.1f} ({percent(share)})'


def products(rows):
    """One token as GB/s of weights, more tokens as GMAC/s."""
    table = Table('Matrix products: one token, GB/s (share of the read loop); more, GMAC/s (share '
                  'of the tile ceiling, of fma for floats)', 'type', 'level', 'threads', 'columns',
                  '1', '1, from L2', *map(str, FEW_TOKENS))
    for (kernel, level, n_threads, n_cols), found in groups(rows, is_product).items():
        by = {(row['n_tok'], row['place']): row for row in found}
        one, cached = by.get((1, 'memory')), by.get((1, 'L2'))
        table.add(kernel, level, n_threads, n_cols,
                  f'{middle(one, "gb_per_s"):.1f} ({percent(one["of_read"])})' if one else '-',
                  f'{middle(cached, "gb_per_s"):.1f}' if cached else '-',
                  *(cell(by.get((n, 'memory')), ('of_tile', 'of_dot')) for n in FEW_TOKENS))
    return table


def others(rows):
    table = Table('Other kernels', 'kernel', 'level', 'threads', 'length', 'tokens', 'from', 'us',
                  'GB/s', 'GMAC/s', 'share of reading', 'share of fma')
    for row in rows:
        if row['kernel'] == 'ceilings' or is_product(row):
            continue
        macs = middle(row, 'gmac_per_s')
        table.add(row['kernel'], row['level'], row['n_threads'], row['n_cols'], row['n_tok'],
                  row['place'], f'{middle(row, "us"):.2f}', f'{middle(row, "gb_per_s"):.2f}',
                  f'{macs:.2f}' if macs else '-', percent(row['of_read']),
                  percent(row['of_dot']))
    return table


def ceilings(rows):
    """Highest of all groups: each was measured with every one of them."""
    kinds = (('read_gb_per_s', 'read GB/s'), ('read_huge_gb_per_s', 'huge pages'),
             ('read_l2_gb_per_s', 'L2'), ('read_l1_gb_per_s', 'L1'),
             ('dot_gmac_per_s', 'dot GMAC/s'), ('tile_gmac_per_s', 'tile'),
             ('fma_gmac_per_s', 'fma'))
    table = Table('Ceilings, the best of all rounds', 'level', 'threads',
                  *(text for _, text in kinds))
    best = {}
    for row in rows:
        if row['kernel'] != 'ceilings':
            continue
        mine = best.setdefault((row['level'], row['n_threads']), {})
        for key, _ in kinds:
            if key in row:
                mine[key] = max(mine.get(key, 0), row[key][2])
    for (level, n_threads), mine in best.items():
        table.add(level, n_threads, *(f'{mine[key]:.1f}' if key in mine else '-'
                                      for key, _ in kinds))
    return table


def kernel_tables(found):
    rows = found['rows']
    tables = [ceilings(rows), products(rows), others(rows)]
    tables[1].note(f'{found["n_rounds"]} rounds, weights in {found["pages"]} pages; the system '
                   f'gave {percent(found["huge_page_share"])} of the huge pages asked for.')
    return tables
