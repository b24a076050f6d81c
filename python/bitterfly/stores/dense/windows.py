"""Window codes: a number is an entry of a table, its index a window of a stream of which few bits are new."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache

import numpy as np

from bitterfly import _core
from bitterfly.inputs import Array
from bitterfly.stores.floats import frozen

WINDOW_BITS = {"window7": 7, "window11": 11}
RATES = (1, 1.5, 2, 2.5, 3, 3.5, 4, 5)  # of windows that overlap; at 6 and 8 bits they do not
SCALAR_RATES = (6, 8)
ROWS = 64  # of a sequence, and of a panel, at most; a multiple of 16


@dataclass(frozen=True)
class WindowCode:
    """A table and how windows of a stream are its indices (docs/format.md).

    Attributes
    ----------
    name : str
        "window7", "window11", or "scalar" where windows do not overlap.
    rate : float
        New bits of a number.
    bits : int
        Those of a window.
    table : numpy.ndarray
        Entries, int8; at most 63 in size where windows overlap.
    masks : numpy.ndarray or None
        Of "window11": what the upper four bits of a window change in the index that the lower seven are.
    step : float
        Unit of the entries with which normal numbers of variance one have the least error.
    error : float
        That error, relative.
    """

    name: str
    rate: float
    bits: int
    table: Array
    masks: Array | None
    step: float
    error: float

    @property
    def half_bits(self) -> int:
        """Twice the rate, as the core takes it."""
        return round(2 * self.rate)


@cache
def window_code(name: str, rate: float) -> WindowCode:
    """Return a code.

    Raises
    ------
    ValueError
        For names and rates that have none.
    """
    if name not in WINDOW_BITS:
        raise ValueError(f"code: expected window7 or window11, got {name!r}")
    if rate not in (*RATES, *SCALAR_RATES):
        raise ValueError(f"rate: expected {', '.join(map(str, (*RATES, *SCALAR_RATES)))} bits, got {rate}")
    if rate in SCALAR_RATES:
        table = _entries(_SCALAR_TABLE) if rate == 6 else np.arange(256).astype(np.uint8).view(np.int8)
        return WindowCode("scalar", rate, int(rate), frozen(table), None, *_SCALAR_FACTS[int(rate)])
    step, error, generators, text = _CODES[name, rate]
    masks = frozen(masks_of(generators)) if generators else None
    return WindowCode(name, rate, WINDOW_BITS[name], frozen(_entries(text)), masks, step, error)


def _entries(text: str) -> Array:
    return np.frombuffer(base64.b85decode(text), np.int8)


def masks_of(generators: tuple[int, ...]) -> Array:
    """Return the mask of each number of upper bits: the generators of its bits that are set, added modulo 2."""
    masks = np.zeros(1, np.uint8)
    for generator in generators:
        masks = np.concatenate([masks, masks ^ np.uint8(generator)])
    return masks


def shifts(rate: float, rows: int) -> list[int]:
    """Return the new bits of each row, from the first one on; the stream begins with those of the last."""
    first = [int(p * rate) for p in range(rows + 1)]
    return [first[p + 1] - first[p] for p in reversed(range(rows))]


def encode(x: Array, code: WindowCode, rows_valid: int | None = None, workers: int = 1, around: int = 0) -> Array:
    """Return streams (count, T rate / 8) of least squared error for sequences (count, T) in units of the entries.

    Parameters
    ----------
    x : numpy.ndarray
        T is 16, 32, 48 or 64.
    code : WindowCode
    rows_valid : int, optional
        Rows from this one on do not count.
    workers : int
    around : int
        Rows on either side of the first one that decide where the stream closes; 0: as many as nearly all is gained
        with in the time of two runs. T makes 0.1 to 0.8 % less error in half as much time again.

    Raises
    ------
    ValueError
        For other numbers of rows, and where a number that counts is infinite or not a number.
    """
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, np.float32)
    if x.ndim != 2 or x.shape[1] not in range(16, ROWS + 1, 16):
        raise ValueError(f"x: expected sequences (count, T) of 16, 32, 48 or 64 rows, got shape {x.shape}")
    rows = x.shape[1] if rows_valid is None else rows_valid
    if not 0 <= rows <= x.shape[1]:
        raise ValueError(f"rows_valid: expected 0 to {x.shape[1]}, got {rows}")
    if not np.all(np.isfinite(x[:, :rows])):
        raise ValueError("x: expected finite numbers, got infinities or NaNs")
    if code.name == "scalar":
        return _nearest(x, code, rows)
    return _core.window_encode(x, code.table, code.masks, code.half_bits, rows, workers, around)


def decode(streams: Array, code: WindowCode, workers: int = 1) -> Array:
    """Return the entries (count, T), int8, that streams (count, T rate / 8) stand for."""
    return _core.window_decode(streams, None if code.bits == 8 else code.table, code.masks, code.half_bits, workers)


def _nearest(x: Array, code: WindowCode, rows: int) -> Array:
    """Return streams of the indices of nearest entries, of the lower one in the middle."""
    order = np.argsort(code.table, kind="stable")
    entries = code.table[order].astype(np.float32)
    index = order[np.searchsorted((entries[1:] + entries[:-1]) / 2, x)]
    index[:, rows:] = 0
    bits = index[:, ::-1, np.newaxis] >> np.arange(code.bits) & 1
    return np.packbits(bits.reshape(len(x), x.shape[1] * code.bits).astype(np.uint8), axis=1, bitorder="little")


# Of the codes of 6 and 8 bits: step and error; the entries of 6 bits. What follows is printed by
# bench/quantization/window_tables.py.
_SCALAR_FACTS = {6: (0.0352, 0.02563), 8: (0.0308, 0.009365)}
_SCALAR_TABLE = "mZYt;y1&E6%g)i%*V^6R;p64!>Fe$9@$>cf`TPC<0RsgG2@4Gm5fc>`85<oRAtNR!EH5%OIXyu}OjBHH"
# Step, error, generators of the masks, entries.
_CODES: dict[tuple[str, float], tuple[float, float, tuple[int, ...], str]] = {
    ("window7", 1): (
        0.030717,
        0.5394,
        (),
        "<{K{P{{bP{DEa@;0l^#U>KOh25$87h_8K1T-3boa?+W)7IMojP?k3Lw+6x-?748<s7xEVB0TdA7_dVwf"
        "8s*X$0sr48*arbH|3Bpx7U%*1?-|Mk3g+SyBlq$r5%vk|$Sd*$6525UCiUhD>k{fZ=?>}^|LpJ|3Bwum",
    ),
    ("window7", 1.5): (
        0.037539,
        0.3915,
        (),
        "{stl6=?wD_3FqGo?->^M4K?=E_7lVK-Uu4<)&?T?=Nb(E1l%I=A@uqe<_HYfKM2zT8u0cR{2vJF1JL{|"
        "0{Y(}7xWGA_ZcDd5$Ea(^UDe>3hg}*BKYPGD*E0D8Rql>{3PBF-wX!n8u;`m!T2ry<`4?!1mXA={V)X7",
    ),
    ("window7", 2): (
        0.040104,
        0.2813,
        (),
        "H^Bw!+6eU;BIOJF0}|T!;`1N~1M(T-&KK+b1{3%y4e`_i5alZQ3i#b37%m6v^*;>W?9dJV?fVB8=KCE9"
        "$v^uRCin~H-W&A={q80R9u465{SN0IGU*iq`t1nT^A9Zj@Eg_#_6Q^1=+gNW3&Hdv6fpAw69xI{8U^F`",
    ),
    ("window7", 2.5): (
        0.045951,
        0.2066,
        (),
        "?*;o4@c<<k65-4D_68U181o1}9xw_1B>V;684U8`)D!RkA@l<c2Nm_}F6RjQ1}ho#{21)q2J+?n1RmH9"
        "5&H%04*=Wg?jJP?3i|03=neS6;?Va3+ywg}=kyL9EbR~g-wgfp`RfZ6(i!*#`qk$Q1n3kb`VJce{NgC`",
    ),
    ("window7", 3): (
        0.047537,
        0.1473,
        (),
        "{o@TM?-lk0<nhq;{Riw73-;#y7a#)f+xP_{>lpkE=@A6M)%qUv`~(o`^djER*#jX9`8E^e4;lso*6#KE"
        "10D0(5$g*491k!H1Nju|^$HpT>EQkmB?$Z873c)>7w`N(D+b~W1pM$94BjF!C;i{`2g>an@#gydDiR9>",
    ),
    ("window7", 3.5): (
        0.048534,
        0.11,
        (),
        "7UujODeMFc@Dld?KLXwh^a$Mm?GGpC9@H8X1`qq<)&lbR4I1b-0tzqU83*+e2j1!r0SNK>+5-~x&L8dl"
        ">KX*%*A)Ep5bg>D!Tuuk4EQ4e6Y<#@;w<Lu`tb!GD*g@!^X3@I{`S!x=lKin`63qa|M(9ECjIUUGT{>g",
    ),
    ("window7", 4): (
        0.051521,
        0.0783,
        (),
        "4<rBY^)3VoKh+2N9O)L~{T>Sf@b?<+2g>u{==~8D<PrJ}0tWUb6!OpP2;2V}DgEFY*be&z_39J%A^{2U"
        "@!bIt3)1}d!7KR&<QM851LF1m5DDfJ`8Ew87z6L?9PbA6{`v~q><%#$_$2}6*8?EtDDnmS3l{AO-v9Rx",
    ),
    ("window7", 5): (
        0.053416,
        0.04273,
        (),
        ">-8BG`wb5w06*^n;v5U~^4j<b&E?btAQA@o?)?7f0t6P=_8;rzDhCPe8tLNj^AP+FB;E}A2mb)k5(@V?"
        "6$|I<1@rOV0KpOd9^~~54kifqGaD@Y;O_bd5(EMm{`~4F3gHzS*7^4n<`*6i4e$i=+#>V_`2heg?)C}D",
    ),
    ("window11", 1): (
        0.034325,
        0.5374,
        (67, 126, 19, 79),
        "?d>80`o|0R<0SzN;tl*7*$(m^=lwDb?EMns`TZ0B)btHH`wHa)2=@;N<_k3W2=5j2BJBy)0UkfwApzzQ"
        "BoFHw=pOeU9}V&k{K50w%pdU+0PN%k<_0ne_5b%8014#)9qkSA<|G6E0x9wq0OBC`1rE*fA=(h()BX7g",
    ),
    ("window11", 1.5): (
        0.037964,
        0.3824,
        (22, 11, 54, 79),
        "6#ggk4fPM^^A_d_1_}1h^z#Yb!5Rq<;4A>=7wF;y+XyQ6<pKa70PjBzB=rjIB?kG>4du@a3G?X`03qZ9"
        "F$(wk_ZsRA8u1JB4cP+h{2mzT835EE@%QFGBlisq6ZQ+-^1%@R;Q;;{3D)=}{T$x_>=zC9^f4RrFbDeE",
    ),
    ("window11", 2): (
        0.044071,
        0.272,
        (125, 45, 41, 7),
        ";{x>+>kIxJ-}vqX{1ONu2?OBo5g`5d5zXfN1sXH&AN~^f2<`&m67&Qq*Zd6b2>==O3+Dj$4DBS`B-|79"
        "{_HUn?9UVe3i{j|<s=67=JXl``{oQ94*mHS>IVbz>m>LL^a$J)|Lgx2>H!r2D+&7P7Y6s$!7L2&4)oMN",
    ),
    ("window11", 2.5): (
        0.045621,
        0.1943,
        (118, 31, 6, 2),
        "3H0|272fM2`RfN25&7>2^aKq2Bo*B23mo<2Kl;H2(*-U21@HS2=hhi2{0Id2>DU)23F-G2BJ|!2`Wy!2"
        "^8gJ19`NE2+X5y24I1<25diN11sD720QCS1@*fW2=I|O2F#ga2-3lZ21{V72@&^w2{OJT2?*$S2%<eQ2",
    ),
    ("window11", 3): (
        0.047911,
        0.1387,
        (13, 88, 41, 22),
        "9{lz2=?U2e{|y%<?fnSzC;Aun3lQQ2_ze>S>DvMG<r@MLBMmk2?h5_n6Y~EH%Mac2{_Y#)0rl+;0~`|e"
        "{_W-q_tF$9{r3jqKP(dO?A8e`8ubDb?h(P%`W^!b7YY30A_NNg0O$_<79j`p_6Oel1Rm-4`3&mc@&o`F",
    ),
    ("window11", 3.5): (
        0.049923,
        0.1004,
        (100, 81, 66, 46),
        "{PG$D3HbT&90KVG0uU2F_67|U{Q>Lx?<WlE8}v2a?ZN)=7x?7<2N3rN=KTZ?%Od3r^cE4>6$S(U^Xv-x"
        "@ahZ_-T)T=FX9XQ`6LAM_z?vF=I-^_;PTbu`wJKz{0#@(^#su#>H#7E^zINA=;8(SD;*#X3n&^A`v3^<",
    ),
    ("window11", 4): (
        0.050776,
        0.07236,
        (35, 5, 120, 47),
        "?*1_rB<c(K_}>W{)eR3EALb1C{rd|C7y`lX1K{lO<ni+>=Jz282lW=*>dyia4-_E%5kLOu`Sk?@2lN`@"
        "0sHm>?cMa`HwNtT>HQEU*ag!O{0sXH0SW8(|MBDJ+VBGx4ix&y91J59{t5;E866J+2^IJM^9A(;?=AZ%",
    ),
    ("window11", 5): (
        0.055379,
        0.03884,
        (112, 91, 68, 54),
        "+0w!D1LX=I`X>x9;|CG^1tAab3Iq=6_u=gC0saOP=k)dX+sO>*90CL1KLHE-@e}Ul8vhRR>iqx@4Hf43"
        "`1$?%3jON}1^_J<_ZkT568$P8@DCR>@dqLC`vV34))yK5|ML>{4LKMA9O)JG-3bIG1rYWK?d{Iv`W_Sl",
    ),
}
