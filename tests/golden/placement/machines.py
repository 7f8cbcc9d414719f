"""Machines for test_placement, as hwloc XML: machines.py OUT.txt

Writes OUT/NAME.xml for each machine below, and their names into OUT.txt. None was
recorded on the machine itself: they are put together from published core counts, cache
sizes and clocks, with logical CPUs numbered as Linux numbers them there.
"""

import os
import sys

# Kinds of cores: what hwloc would know of them.
ZEN5 = {"FrequencyMaxMHz": 5100}
ZEN5C = {"FrequencyMaxMHz": 3300}
P = {"CoreType": "IntelCore", "FrequencyMaxMHz": 4800}
E = {"CoreType": "IntelAtom", "FrequencyMaxMHz": 3800}
LPE = {"CoreType": "IntelAtom", "FrequencyMaxMHz": 2500}

# name -> domains: (MiB of L3 or 0 for none, [(CPUs of one core, kind or None)])


def amd(*domains, smt=True):
    """Domains of (MiB, cores, kind): first all cores' first CPUs, then their second."""
    n = sum(cores for _, cores, _ in domains)
    out, core = [], 0
    for mib, cores, kind in domains:
        numbers = range(core, core + cores)
        out.append((mib, [([i, i + n] if smt else [i], kind) for i in numbers]))
        core += cores
    return out


MACHINES = {
    "9700x": amd((32, 8, None)),
    "3900x": amd((16, 3, None), (16, 3, None), (16, 3, None), (16, 3, None)),
    "7950x": amd((32, 8, None), (32, 8, None)),
    "7950x-no-smt": amd((32, 8, None), (32, 8, None), smt=False),
    "9950x3d": amd((96, 8, None), (32, 8, None)),
    # the same cores the other way round
    "x3d-second": amd((32, 8, None), (96, 8, None)),
    "strix-halo": amd((32, 8, None), (32, 8, None)),
    "strix-point": amd((16, 4, ZEN5), (8, 8, ZEN5C)),
    "hawk-point": amd((16, 8, None)),
    # 6 performance cores with SMT, 8 efficiency cores, 2 more without L3 for idling.
    "hybrid-laptop": [
        (24, [([2 * i, 2 * i + 1], P) for i in range(6)] + [([12 + i], E) for i in range(8)]),
        (0, [([20 + i], LPE) for i in range(2)]),
    ],
    # 4 and 4 cores, none with SMT; the small ones have no L3.
    "lunar-lake": [(12, [([i], P) for i in range(4)]), (0, [([4 + i], E) for i in range(4)])],
}


class Xml:
    def __init__(self):
        self.lines = []
        self.gp = 0

    def open(self, kind, cpus, nodes=1, close=False, **attrs):
        self.gp += 1
        sets = 'cpuset="%s" complete_cpuset="%s" nodeset="0x%x" complete_nodeset="0x%x"' % (
            bitmap(cpus), bitmap(cpus), nodes, nodes)
        self.lines.append('<object type="%s" %s gp_index="%d"%s%s>' % (
            kind, sets, self.gp, "".join(' %s="%s"' % a for a in attrs.items()),
            "/" if close else ""))

    def close(self):
        self.lines.append("</object>")


def bitmap(cpus):
    value = sum(1 << c for c in cpus)
    words = []
    while True:
        words.insert(0, "0x%08x" % (value & 0xFFFFFFFF))
        value >>= 32
        if not value:
            return ",".join(words)


def to_xml(domains):
    cpus = [c for _, cores in domains for core, _ in cores for c in core]
    xml = Xml()
    xml.lines.append('<?xml version="1.0" encoding="UTF-8"?>')
    xml.lines.append('<topology version="2.0">')
    xml.open("Machine", cpus, os_index=0, allowed_cpuset=bitmap(cpus), allowed_nodeset="0x1")
    xml.open("Package", cpus, os_index=0)
    xml.open("NUMANode", cpus, os_index=0, local_memory=34359738368, close=True)
    i_core = 0
    for mib, cores in domains:
        if mib:
            xml.open("L3Cache", [c for core, _ in cores for c in core], cache_size=mib << 20,
                     depth=3, cache_linesize=64, cache_associativity=16, cache_type=0)
        for core, _ in cores:
            xml.open("Core", core, os_index=i_core)
            for cpu in core:
                xml.open("PU", [cpu], os_index=cpu, close=True)
            xml.close()
            i_core += 1
        if mib:
            xml.close()
    xml.close()
    xml.close()
    kinds = []
    for _, cores in domains:
        for core, kind in cores:
            if kind and kind not in kinds:
                kinds.append(kind)
    for kind in kinds:
        own = [c for _, cores in domains for core, k in cores if k == kind for c in core]
        xml.lines.append('<cpukind cpuset="%s">' % bitmap(own))
        for name, value in kind.items():
            xml.lines.append('<info name="%s" value="%s"/>' % (name, value))
        xml.lines.append("</cpukind>")
    xml.lines.append("</topology>")
    return "\n".join(xml.lines) + "\n"


out = sys.argv[1]
folder = os.path.splitext(out)[0]
os.makedirs(folder, exist_ok=True)
for name, domains in MACHINES.items():
    with open(os.path.join(folder, name + ".xml"), "w") as f:
        f.write(to_xml(domains))
with open(out, "w") as f:
    f.write("".join(name + "\n" for name in MACHINES))
