/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The inner loop of dataplane/hashing.py, which has the same in Python: Maglev's pseudocode 1 (Eisenbud et al., NSDI
 * 2016, 3.4) with turns for weights. Compiled to build/ring.so and called by ctypes; needs no library. */
#include <stdint.h>

/* Give each slot to a backend. `at` (first place) and `skip` of each backend are below `slots`, a prime; `turns` are
 * backends, in a cycle. `taken` are `slots` zeros; `ring` gets the index of a backend for each slot. */
void fill_ring(uint16_t *ring, uint8_t *taken, uint32_t slots, uint32_t *at, const uint32_t *skip,
	       const uint32_t *turns, uint32_t turn_count)
{
	uint32_t filled, turn = 0;

	for (filled = 0; filled < slots; filled++) {
		uint32_t backend = turns[turn], place = at[backend];

		if (++turn == turn_count)
			turn = 0;
		while (taken[place]) {
			place += skip[backend];
			if (place >= slots)
				place -= slots;
		}
		taken[place] = 1;
		ring[place] = backend;
		at[backend] = place;
	}
}
