@ The flash algorithm of the boards in QEMU, whose "flash" at 0 is memory that anybody can write.
@
@ It behaves like NOR flash all the same: erasing sets every bit, programming only clears some. A sector that was not erased
@ then fails the verification, here as on silicon.
@
@ Position independent, no data of its own. Arguments in r0 to r3, the result in r0 (0 is good). At the end of each line is
@ where its code lies and the code itself; chip.rs checks that the chip description carries the same bytes. To assemble it
@ again: rustc --target thumbv7m-none-eabi, core::arch::global_asm!(include_str!(..), options(raw)), llvm-objdump -d.
    .syntax unified
    .thumb

init:                           @ (address, clock, operation)
uninit:                         @ (operation)
    movs r0, #0                 @ 00: 2000
    bx   lr                     @ 02: 4770

erase_all:                      @ (): 4 MiB from 0 on
    movs r0, #0                 @ 04: 2000
    movs r1, #1                 @ 06: 2101
    lsls r1, r1, #22            @ 08: 0589
    b    fill                   @ 0a: e001

erase_sector:                   @ (address): 4 KiB
    movs r1, #1                 @ 0c: 2101
    lsls r1, r1, #12            @ 0e: 0309
fill:                           @ from the end down to r0, r1 bytes
    movs r2, #0                 @ 10: 2200
    mvns r2, r2                 @ 12: 43d2
fill_next:
    subs r1, r1, #4             @ 14: 1f09
    str  r2, [r0, r1]           @ 16: 5042
    bne  fill_next              @ 18: d1fc
    movs r0, #0                 @ 1a: 2000
    bx   lr                     @ 1c: 4770

program_page:                   @ (address, length, bytes)
    push {r4, lr}               @ 1e: b510
    b    program_check          @ 20: e004
program_next:
    subs r1, r1, #1             @ 22: 1e49
    ldrb r3, [r0, r1]           @ 24: 5c43
    ldrb r4, [r2, r1]           @ 26: 5c54
    ands r3, r4                 @ 28: 4023
    strb r3, [r0, r1]           @ 2a: 5443
program_check:
    cmp  r1, #0                 @ 2c: 2900
    bne  program_next           @ 2e: d1f8
    movs r0, #0                 @ 30: 2000
    pop  {r4, pc}               @ 32: bd10

verify:                         @ (address, length, bytes): address + length, or where the first difference is
    push {r4, r5, lr}           @ 34: b530
    movs r3, #0                 @ 36: 2300
verify_next:
    cmp  r3, r1                 @ 38: 428b
    beq  verify_end             @ 3a: d005
    ldrb r4, [r0, r3]           @ 3c: 5cc4
    ldrb r5, [r2, r3]           @ 3e: 5cd5
    adds r3, r3, #1             @ 40: 1c5b
    cmp  r4, r5                 @ 42: 42ac
    beq  verify_next            @ 44: d0f8
    subs r3, r3, #1             @ 46: 1e5b
verify_end:
    adds r0, r0, r3             @ 48: 18c0
    pop  {r4, r5, pc}           @ 4a: bd30
