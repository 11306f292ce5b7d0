//! The interface `state`, as plugins call it.

use wasmtime::{
    StoreContextMut,
    component::{Linker, WasmList},
};

use crate::{
    host::State,
    state::{NoBatch, StateTable},
};

const INTERFACE: &str = "sedge:plugin/state@0.1.0";

/// Links the interface. The functions are written by hand, because those that wasmtime generates
/// copy each key and value into a new vector.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(INTERFACE)?;
    interface.func_wrap(
        "get",
        |mut store: StoreContextMut<'_, State>, (key,): (WasmList<u8>,)| {
            let mut table = take(&mut store)?;
            let value = table.get(key.as_le_slice(&store));
            store.data_mut().table = Some(table);
            Ok((value,))
        },
    )?;
    interface.func_wrap(
        "put",
        |mut store: StoreContextMut<'_, State>, (key, value): (WasmList<u8>, WasmList<u8>)| {
            let mut table = take(&mut store)?;
            let put = table.put(key.as_le_slice(&store), value.as_le_slice(&store));
            store.data_mut().table = Some(table);
            Ok((put,))
        },
    )?;
    interface.func_wrap(
        "delete",
        |mut store: StoreContextMut<'_, State>, (key,): (WasmList<u8>,)| {
            let mut table = take(&mut store)?;
            table.delete(key.as_le_slice(&store));
            store.data_mut().table = Some(table);
            Ok(())
        },
    )
}

/// Takes the table of the batch out of the store, so that the plugin's memory can be read beside
/// it.
fn take(store: &mut StoreContextMut<'_, State>) -> wasmtime::Result<Box<StateTable>> {
    let table = store.data_mut().table.take();
    table.ok_or_else(|| wasmtime::Error::new(NoBatch))
}
