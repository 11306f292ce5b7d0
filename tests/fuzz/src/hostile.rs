//! Makes hostile plugins of a fuzzer's bytes: a random module with the imports and exports of a
//! world, as a component.
//!
//! `wasm-smith` generates the module. Nearly all random functions trap at once, so that nothing
//! behind them would be reached: some bodies of exported functions are replaced by ones that
//! answer what the fuzzer says, or never end.

use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use sedge_plugin::World;
use sedge_plugin::guest::componentize;
use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{BlockType, CodeSection, Function, Instruction, MemArg, MemoryType};
use wasm_smith::Config;
use wasmparser::{CompositeInnerType, ExternalKind, FuncType, Parser, Payload, TypeRef};
use wit_component::dummy_module;
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// Bytes that a module is made of.
const INPUT_BYTES: usize = 4096;
/// Pages of a module's memory at its start. The memory limit is 16 pages.
const PAGES_MAX: u64 = 20;
/// Addresses in the module's memory: the allocator's counter, and what it gives out.
const ALLOCATED_AT: i32 = 16;
const HEAP_AT: i32 = 0x4000;
/// A place that is zero at the start: a setting's acceptance.
const ZEROS_AT: i32 = 0x100;
/// The place of an answer, and of what its lists point to.
const ANSWER_AT: i32 = 0x800;
const LISTS_AT: i32 = 0x900;
/// Words of an answer: four lists.
const ANSWER_WORDS: usize = 8;

/// A component, and the world that its module was made for.
#[derive(Debug)]
pub struct Hostile {
    pub world: World,
    pub component: Vec<u8>,
}

/// Returns the fuzzer's bytes, and behind them as many that follow from them as a module of some
/// size needs: libFuzzer begins with a few bytes, which make an empty module.
pub fn stretched(input: &[u8]) -> Vec<u8> {
    let mut state = u64::from(crc32c::crc32c(input)) | 1 << 32;
    let mut stretched = input.to_vec();
    while stretched.len() < INPUT_BYTES {
        // Xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        stretched.extend(state.to_le_bytes());
    }
    stretched
}

/// Returns a component of one of the worlds, or `None` if the random module cannot be one.
///
/// # Errors
/// The fuzzer has too few bytes.
pub fn component(u: &mut Unstructured<'_>) -> Result<Option<Hostile>> {
    let (world, name) = *u.choose(&[
        (World::RecordFilter, "record-filter"),
        (World::RecordFilter, "record-filter"),
        (World::KeyPartitioner, "key-partitioner"),
        (World::QuotaPolicy, "quota-policy"),
    ])?;
    let config = config(u, shape(name))?;
    let mut plan = Plan::read(u)?;
    let module = wasm_smith::Module::new(config, u)?.to_bytes();
    let module = plan.apply(&module);
    let component = componentize(&module).ok();
    Ok(component.map(|component| Hostile { world, component }))
}

/// Returns a module with the imports and the exports of a world.
fn shape(world: &str) -> Vec<u8> {
    static SHAPES: OnceLock<Vec<(&str, Vec<u8>)>> = OnceLock::new();
    let shapes = SHAPES.get_or_init(|| {
        let mut resolve = Resolve::default();
        let wit = include_str!("../../../wit/plugin.wit");
        let package = resolve.push_source("plugin.wit", wit).expect("it is valid");
        let names = ["record-filter", "key-partitioner", "quota-policy"];
        let mut shape = |name| {
            let id = resolve
                .select_world(&[package], Some(name))
                .expect("it is there");
            let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
            (name, dummy_module(&resolve, id, abi))
        };
        names.map(&mut shape).into()
    });
    let shape = shapes.iter().find(|(name, _)| *name == world);
    shape.expect("all are made").1.clone()
}

fn config(u: &mut Unstructured<'_>, shape: Vec<u8>) -> Result<Config> {
    // Mostly what the engine takes.
    let anything = u.ratio(1, 16)?;
    Ok(Config {
        module_shape: Some(shape),
        exceptions_enabled: anything,
        gc_enabled: anything,
        // The engine has no references to what a collector would hold.
        reference_types_enabled: anything,
        memory64_enabled: anything,
        threads_enabled: anything,
        wide_arithmetic_enabled: anything,
        custom_page_sizes_enabled: anything,
        max_memories: if u.ratio(1, 8)? { 5 } else { 1 },
        max_tables: 20,
        max_table_elements: if u.ratio(1, 8)? { 200_000 } else { 1_000 },
        max_instructions: 400,
        ..Config::default()
    })
}

/// Which bodies are replaced, and by what.
#[derive(Debug)]
struct Plan {
    pages: u64,
    realloc: Allocator,
    accepts: bool,
    needs: Option<i32>,
    initializes: bool,
    answer: Option<Answer>,
    /// The numbers and names of exported functions, and the types of imported ones.
    exports: Vec<(u32, String)>,
    imports: Vec<FuncType>,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
enum Allocator {
    Random,
    /// Gives out the same place each time.
    Same(i32),
    Bump,
}

/// A body that writes an answer.
#[derive(Debug)]
struct Answer {
    words: Vec<i32>,
    lists: Vec<i32>,
    before: Deed,
}

/// What a body does before it answers.
#[derive(Clone, Debug)]
enum Deed {
    Nothing,
    Loop,
    Recurse,
    /// Takes memory for ever.
    Grow,
    /// Fills memory for ever.
    Fill,
    /// Calls an imported function with these arguments, so many times; 0 is for ever.
    Call(u8, Vec<i32>, u8),
}

/// A number that is a likely place, length or limit.
fn number(u: &mut Unstructured<'_>) -> Result<i32> {
    Ok(match u.int_in_range(0..=9)? {
        0..=3 => 0,
        5 => 5,
        6 => i32::from(u.arbitrary::<u8>()? % 20),
        7 => LISTS_AT + i32::from(u.arbitrary::<u8>()? & 0xfc),
        8 => -1 - i32::from(u.arbitrary::<u8>()? % 4),
        4 => HEAP_AT + i32::from(u.arbitrary::<u8>()?),
        _ if u.arbitrary()? => i32::from(u.arbitrary::<u16>()?) << 4,
        _ => u.arbitrary()?,
    })
}

fn numbers(u: &mut Unstructured<'_>, count: usize) -> Result<Vec<i32>> {
    (0..count).map(|_| number(u)).collect()
}

impl Plan {
    fn read(u: &mut Unstructured<'_>) -> Result<Self> {
        let answer = if u.ratio(3, 4)? {
            let before = match u.int_in_range(0..=9)? {
                0 => Deed::Loop,
                1 => Deed::Recurse,
                2 => Deed::Grow,
                3 => Deed::Fill,
                4..=6 => Deed::Call(u.arbitrary()?, numbers(u, 6)?, u.arbitrary()?),
                _ => Deed::Nothing,
            };
            // Some answers are right, or nearly: nothing behind the checks is seen without.
            let mut words = numbers(u, ANSWER_WORDS)?;
            let mut lists = numbers(u, 32)?;
            match u.int_in_range(0..=3)? {
                0 => words.fill(0),
                1 => {
                    let verdicts = u.arbitrary::<[u8; 8]>()?.map(|verdict| verdict % 6);
                    let (first, second) = verdicts.split_at(4);
                    let word =
                        |of: &[u8]| of.iter().rev().fold(0, |all, of| all << 8 | i32::from(*of));
                    (lists[0], lists[1]) = (word(first), word(second));
                    let replaced = i32::from(u.arbitrary::<u8>()? % 6);
                    let reasons = i32::from(u.arbitrary::<u8>()? % 6);
                    let at = LISTS_AT + 8;
                    words = vec![LISTS_AT, 5, at, replaced * 16, LISTS_AT, 64, at, reasons];
                }
                _ => {}
            }
            Some(Answer {
                words,
                lists,
                before,
            })
        } else {
            None
        };
        Ok(Self {
            pages: if u.ratio(7, 8)? {
                2
            } else {
                u.int_in_range(0..=PAGES_MAX)?
            },
            realloc: match u.int_in_range(0..=7)? {
                0 => Allocator::Random,
                1 => Allocator::Same(number(u)?),
                _ => Allocator::Bump,
            },
            accepts: u.ratio(7, 8)?,
            needs: u.ratio(7, 8)?.then(|| number(u)).transpose()?,
            initializes: u.ratio(1, 8)?,
            answer,
            exports: Vec::new(),
            imports: Vec::new(),
            next: 0,
        })
    }

    /// Returns the module with other bodies. It may be invalid, as a hostile one may.
    fn apply(&mut self, module: &[u8]) -> Vec<u8> {
        self.look(module);
        let mut changed = wasm_encoder::Module::new();
        let parser = Parser::new(0);
        match self.parse_core_module(&mut changed, parser, module) {
            Ok(()) => changed.finish(),
            Err(error) => panic!("a generated module is not parsed: {error}"),
        }
    }

    fn look(&mut self, module: &[u8]) {
        let mut types = Vec::new();
        for payload in Parser::new(0).parse_all(module).map_while(Result::ok) {
            match payload {
                Payload::TypeSection(section) => {
                    for group in section.into_iter().flatten() {
                        types.extend(group.into_types().map(|of| of.composite_type.inner));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports().flatten() {
                        if let TypeRef::Func(of) = import.ty
                            && let Some(CompositeInnerType::Func(of)) = types.get(of as usize)
                        {
                            self.imports.push(of.clone());
                        }
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section.into_iter().flatten() {
                        if export.kind == ExternalKind::Func {
                            self.exports.push((export.index, export.name.to_owned()));
                        }
                    }
                }
                _ => {}
            }
        }
        self.next = self.imports.len() as u32;
    }

    /// Returns the body that stands for that of an exported function.
    fn body(&self, index: u32, name: &str) -> Option<Function> {
        if name == "cabi_realloc" {
            return match self.realloc {
                Allocator::Random => None,
                Allocator::Same(place) => Some(constant(place)),
                Allocator::Bump => Some(bump()),
            };
        }
        if name == "_initialize" || name.starts_with("cabi_post_") {
            return (!self.initializes).then(|| body(&[]));
        }
        if name.ends_with("#configure") {
            return self.accepts.then(|| constant(ZEROS_AT));
        }
        if name.ends_with("#describe") {
            return self.needs.map(constant);
        }
        let answer = self.answer.as_ref()?;
        Some(answer.body(index, &self.imports))
    }
}

impl Reencode for Plan {
    type Error = std::convert::Infallible;

    fn memory_type(
        &mut self,
        of: wasmparser::MemoryType,
    ) -> Result<MemoryType, reencode::Error<Self::Error>> {
        let mut of = reencode::utils::memory_type(self, of);
        of.minimum = of.minimum.min(PAGES_MAX).max(self.pages);
        of.maximum = of.maximum.map(|most| most.max(of.minimum));
        Ok(of)
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        func: wasmparser::FunctionBody<'_>,
    ) -> Result<(), reencode::Error<Self::Error>> {
        let index = self.next;
        self.next += 1;
        let mut exports = self.exports.iter().filter(|(of, _)| *of == index);
        let replaced = exports.find_map(|(index, name)| self.body(*index, name));
        match replaced {
            Some(body) => {
                code.function(&body);
                Ok(())
            }
            None => reencode::utils::parse_function_body(self, code, func),
        }
    }
}

fn body(instructions: &[Instruction<'_>]) -> Function {
    let mut body = Function::new([]);
    for instruction in instructions {
        body.instruction(instruction);
    }
    body.instruction(&Instruction::End);
    body
}

fn constant(number: i32) -> Function {
    body(&[Instruction::I32Const(number)])
}

const fn word() -> MemArg {
    MemArg {
        offset: 0,
        align: 2,
        memory_index: 0,
    }
}

/// An allocator that never frees.
fn bump() -> Function {
    use Instruction::*;
    body(&[
        I32Const(ALLOCATED_AT),
        I32Load(word()),
        I32Const(HEAP_AT),
        I32Add,
        I32Const(ALLOCATED_AT),
        I32Const(ALLOCATED_AT),
        I32Load(word()),
        LocalGet(3),
        I32Add,
        I32Const(15),
        I32Add,
        I32Const(-16),
        I32And,
        I32Store(word()),
    ])
}

impl Answer {
    fn body(&self, index: u32, imports: &[FuncType]) -> Function {
        use Instruction::*;
        let mut body = Vec::new();
        match &self.before {
            Deed::Nothing => {}
            Deed::Loop => body.extend([Loop(BlockType::Empty), Br(0), End]),
            // The arguments are missing: the module is refused unless it has none.
            Deed::Recurse => body.extend([Call(index), Drop]),
            Deed::Grow => body.extend([
                Loop(BlockType::Empty),
                I32Const(1),
                MemoryGrow(0),
                Drop,
                Br(0),
                End,
            ]),
            Deed::Fill => body.extend([
                Loop(BlockType::Empty),
                I32Const(0x1000),
                I32Const(7),
                I32Const(0x8000),
                MemoryFill(0),
                Br(0),
                End,
            ]),
            Deed::Call(import, arguments, times) => {
                if !imports.is_empty() {
                    let import = usize::from(*import) % imports.len();
                    call(&mut body, import, &imports[import], arguments, *times);
                }
            }
        }
        for (at, words) in [(ANSWER_AT, &self.words), (LISTS_AT, &self.lists)] {
            for (word_at, number) in (at..).step_by(4).zip(words) {
                body.extend([I32Const(word_at), I32Const(*number), I32Store(word())]);
            }
        }
        body.push(I32Const(ANSWER_AT));
        self::body(&body)
    }
}

/// Calls an imported function in a loop. The counter is in memory.
fn call(
    body: &mut Vec<Instruction<'_>>,
    import: usize,
    of: &FuncType,
    arguments: &[i32],
    times: u8,
) {
    use Instruction::*;
    body.push(Loop(BlockType::Empty));
    let arguments = arguments.iter().cycle();
    for (param, number) in of.params().iter().zip(arguments) {
        body.push(match param {
            wasmparser::ValType::I32 => I32Const(*number),
            wasmparser::ValType::I64 => I64Const(i64::from(*number)),
            wasmparser::ValType::F32 => F32Const((*number as f32).into()),
            _ => F64Const(f64::from(*number).into()),
        });
    }
    body.push(Call(import as u32));
    body.extend(of.results().iter().map(|_| Drop));
    if times == 0 {
        body.extend([Br(0), End]);
        return;
    }
    body.extend([
        I32Const(0),
        I32Const(0),
        I32Load(word()),
        I32Const(1),
        I32Add,
        I32Store(word()),
        I32Const(0),
        I32Load(word()),
        I32Const(i32::from(times)),
        I32LtU,
        BrIf(0),
        End,
    ]);
}
