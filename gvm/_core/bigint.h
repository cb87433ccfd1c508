#pragma once
// Signed integers of N 32-bit limbs, for building tables; not for kernels. Two's complement and
// wrapping: callers choose N so that nothing wraps. Right shifts floor.

#include <cstdint>

namespace gvm {

template <int N>
struct Big {
  uint32_t limb[N];  // least significant first

  static Big from(int64_t value) {
    Big r;
    const uint64_t bits = static_cast<uint64_t>(value);
    const uint32_t fill = value < 0 ? 0xffffffffu : 0u;
    for (int i = 0; i < N; ++i) {
      r.limb[i] = i < 2 ? static_cast<uint32_t>(bits >> (32 * i)) : fill;
    }
    return r;
  }

  bool negative() const { return (limb[N - 1] >> 31) != 0; }

  bool zero() const {
    for (int i = 0; i < N; ++i) {
      if (limb[i] != 0) return false;
    }
    return true;
  }

  // The value modulo 2^64, as a signed integer.
  int64_t low64() const {
    return static_cast<int64_t>((static_cast<uint64_t>(limb[1]) << 32) | limb[0]);
  }

  // Whether the value fits int64.
  bool fits64() const {
    const uint32_t fill = (limb[1] >> 31) != 0 ? 0xffffffffu : 0u;
    for (int i = 2; i < N; ++i) {
      if (limb[i] != fill) return false;
    }
    return true;
  }

  bool bit(int index) const { return ((limb[index / 32] >> (index % 32)) & 1u) != 0; }

  // Number of bits of a non-negative value; 0 for 0.
  int bit_length() const {
    for (int i = N - 1; i >= 0; --i) {
      if (limb[i] == 0) continue;
      int bits = 32 * i;
      for (uint32_t w = limb[i]; w != 0; w >>= 1) ++bits;
      return bits;
    }
    return 0;
  }
};

template <int N>
Big<N> operator+(const Big<N>& a, const Big<N>& b) {
  Big<N> r;
  uint64_t carry = 0;
  for (int i = 0; i < N; ++i) {
    carry += static_cast<uint64_t>(a.limb[i]) + b.limb[i];
    r.limb[i] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  return r;
}

template <int N>
Big<N> operator-(const Big<N>& a, const Big<N>& b) {
  Big<N> r;
  uint64_t borrow = 0;
  for (int i = 0; i < N; ++i) {
    const uint64_t d = static_cast<uint64_t>(a.limb[i]) - b.limb[i] - borrow;
    r.limb[i] = static_cast<uint32_t>(d);
    borrow = d >> 63;
  }
  return r;
}

template <int N>
Big<N> operator-(const Big<N>& a) {
  return Big<N>::from(0) - a;
}

template <int N>
int compare(const Big<N>& a, const Big<N>& b) {
  if (a.negative() != b.negative()) return a.negative() ? -1 : 1;
  for (int i = N - 1; i >= 0; --i) {
    if (a.limb[i] != b.limb[i]) return a.limb[i] < b.limb[i] ? -1 : 1;
  }
  return 0;
}

// a * 2^bits, bits >= 0.
template <int N>
Big<N> shift_left(const Big<N>& a, int bits) {
  const int limbs = bits / 32;
  const int rest = bits % 32;
  Big<N> r;
  for (int i = N - 1; i >= 0; --i) {
    const int from = i - limbs;
    uint64_t w = from >= 0 ? a.limb[from] : 0u;
    w = (w << 32) | (from >= 1 ? a.limb[from - 1] : 0u);
    r.limb[i] = static_cast<uint32_t>((w << rest) >> 32);
  }
  return r;
}

// floor(a / 2^bits), bits >= 0.
template <int N>
Big<N> shift_right(const Big<N>& a, int bits) {
  const int limbs = bits / 32;
  const int rest = bits % 32;
  const uint32_t fill = a.negative() ? 0xffffffffu : 0u;
  Big<N> r;
  for (int i = 0; i < N; ++i) {
    const int from = i + limbs;
    uint64_t w = from + 1 < N ? a.limb[from + 1] : fill;
    w = (w << 32) | (from < N ? a.limb[from] : fill);
    r.limb[i] = static_cast<uint32_t>(w >> rest);
  }
  return r;
}

// a * 2^bits, floored where bits < 0.
template <int N>
Big<N> shift(const Big<N>& a, int bits) {
  return bits >= 0 ? shift_left(a, bits) : shift_right(a, -bits);
}

// a * m; exact modulo 2^(32 N), so it is right for negative a too.
template <int N>
Big<N> multiply_small(const Big<N>& a, uint32_t m) {
  Big<N> r;
  uint64_t carry = 0;
  for (int i = 0; i < N; ++i) {
    carry += static_cast<uint64_t>(a.limb[i]) * m;
    r.limb[i] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  return r;
}

// a / d towards zero, d > 0; *remainder, where wanted, is that of the magnitude.
template <int N>
Big<N> divide_small(const Big<N>& a, uint32_t d, uint32_t* remainder = nullptr) {
  const Big<N> magnitude = a.negative() ? -a : a;
  Big<N> r;
  uint64_t rest = 0;
  for (int i = N - 1; i >= 0; --i) {
    rest = (rest << 32) | magnitude.limb[i];
    r.limb[i] = static_cast<uint32_t>(rest / d);
    rest %= d;
  }
  if (remainder != nullptr) *remainder = static_cast<uint32_t>(rest);
  return a.negative() ? -r : r;
}

// a * b / 2^(32 drop) towards zero.
template <int N>
Big<N> multiply_shifted(const Big<N>& a, const Big<N>& b, int drop) {
  const Big<N> x = a.negative() ? -a : a;
  const Big<N> y = b.negative() ? -b : b;
  uint32_t product[2 * N] = {};
  int used = N;  // y's limbs
  while (used > 0 && y.limb[used - 1] == 0) --used;
  for (int i = 0; i < N; ++i) {
    const uint64_t m = x.limb[i];
    if (m == 0) continue;
    uint64_t carry = 0;
    for (int j = 0; j < used; ++j) {
      carry += m * y.limb[j] + product[i + j];
      product[i + j] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    product[i + used] = static_cast<uint32_t>(carry);
  }
  Big<N> r;
  for (int i = 0; i < N; ++i) r.limb[i] = i + drop < 2 * N ? product[i + drop] : 0u;
  return a.negative() != b.negative() ? -r : r;
}

// floor(a / d) and the remainder, a >= 0, 0 < d < 2^(32 N - 1).
template <int N>
Big<N> divide(const Big<N>& a, const Big<N>& d, Big<N>* remainder) {
  Big<N> q = Big<N>::from(0);
  Big<N> rest = Big<N>::from(0);
  for (int i = a.bit_length() - 1; i >= 0; --i) {
    rest = shift_left(rest, 1);
    rest.limb[0] |= a.bit(i) ? 1u : 0u;
    if (compare(rest, d) >= 0) {
      rest = rest - d;
      q.limb[i / 32] |= 1u << (i % 32);
    }
  }
  *remainder = rest;
  return q;
}

// floor(sqrt(a)), a >= 0; *exact tells whether the root is whole.
template <int N>
Big<N> square_root(const Big<N>& a, bool* exact) {
  Big<N> rest = a;
  Big<N> root = Big<N>::from(0);
  for (int i = (a.bit_length() - 1) / 2 * 2; i >= 0; i -= 2) {
    Big<N> trial = root;
    trial.limb[i / 32] |= 1u << (i % 32);
    root = shift_right(root, 1);
    if (compare(rest, trial) >= 0) {
      rest = rest - trial;
      root.limb[i / 32] |= 1u << (i % 32);
    }
  }
  *exact = rest.zero();
  return root;
}

}  // namespace gvm
